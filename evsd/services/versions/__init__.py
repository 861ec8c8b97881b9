"""The service that tells which versions of the API there are."""
