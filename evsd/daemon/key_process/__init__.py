"""The evsd-keys program."""
