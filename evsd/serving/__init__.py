"""The processes that serve attached volumes: starting, watching, ending them."""
