"""EVS, the volume service: volumes, attachments, quotas."""
