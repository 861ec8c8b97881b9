"""The KMS: master keys (CMKs), data keys, grants, tags, rotation."""
