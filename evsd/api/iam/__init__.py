"""IAM: the published paths for identity, a module for each kind of record."""

from fastapi import APIRouter

from evsd.api.iam import access_keys, agencies, groups, projects, roles, users

routes = APIRouter()
for module in (projects, users, groups, roles, agencies, access_keys):
    routes.include_router(module.routes)
