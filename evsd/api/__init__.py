"""The HTTP API: the published one, a module for each service.

`gateway` lets requests in, `routes` is what all services share, `errors` how each draws an error.
"""
