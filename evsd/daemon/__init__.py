"""The evsd program: settings, state directory, privileges, and the life of all parts."""
