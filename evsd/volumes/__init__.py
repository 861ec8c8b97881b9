"""Volumes: their records, their life, and what is written to the pool."""
