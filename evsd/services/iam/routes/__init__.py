"""IAM: the published paths for identity, a module for each kind of record."""

from evsd.api.router import Router
from evsd.services.iam.routes import access_keys, agencies, groups, projects, roles, tokens, users

ROUTERS: tuple[Router, ...] = tuple(
    module.routes for module in (projects, users, groups, roles, agencies, access_keys, tokens)
)
