"""IMS v1 and v2 as published, and Glance v2, in which images get their data."""

from evsd.api.router import Router
from evsd.services.ims.routes import cloud_images, glance, jobs, members, pair_tags, schemas, tags

ROUTERS: tuple[Router, ...] = (
    cloud_images.routes,
    members.routes,
    jobs.routes,
    glance.routes,
    tags.routes,
    pair_tags.routes,
    schemas.routes,
)
