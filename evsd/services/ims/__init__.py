"""IMS: private images, encrypted, of volumes and of files."""
