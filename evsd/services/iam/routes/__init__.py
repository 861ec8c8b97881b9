"""IAM: the published paths for identity, a module for each kind of record."""

from fastapi.routing import APIRouter

from evsd.services.iam.routes import access_keys, agencies, groups, projects, roles, users

ROUTERS: tuple[APIRouter, ...] = tuple(
    module.routes for module in (projects, users, groups, roles, agencies, access_keys)
)
