"""evsctl: a client of the HTTP API like any other, for people and for scripts."""
