"""The service that reads and verifies the audit log; `evsd.audit` is the log itself."""
