"""Identity: who the caller is, what each role may do, and delegation to the volume service."""
