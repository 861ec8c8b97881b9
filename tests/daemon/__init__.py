"""The program evsd: its settings, its user, its state directory, and when it is ready."""
