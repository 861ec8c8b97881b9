"""KMS API v1.0: bodies and paths as published; numbers travel as text, keys as upper-case hex.

`bodies` is what all its operations share; the others hold the operations, by what they are about.
"""

from evsd.api.router import Router
from evsd.services.kms.routes import datakeys, grants, imports, keys, rotation, tags

ROUTERS: tuple[Router, ...] = tuple(
    module.routes for module in (keys, datakeys, grants, imports, rotation, tags)
)
