"""EVS v2.1 and Cinder v3 as published, and paths of evsd's own."""

from evsd.api.router import Router
from evsd.services.evs.routes import cinder, luks_headers, quotas, status, volume_lists, volumes

ROUTERS: tuple[Router, ...] = (
    volume_lists.routes,  # before what takes any word for a volume's id
    volumes.routes,
    cinder.routes,
    luks_headers.routes,
    *quotas.ROUTERS,
    status.routes,
)
