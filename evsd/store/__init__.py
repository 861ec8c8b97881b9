"""The metadata store: tables, engine and migrations."""
