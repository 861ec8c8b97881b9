"""EVS v2.1 and Cinder v3 as published, and paths of evsd's own."""

from evsd.api.router import Router
from evsd.services.evs.routes import (
    attachments,
    cinder_snapshots,
    cinder_volumes,
    jobs,
    luks_headers,
    metadata,
    quotas,
    snapshot_groups,
    snapshot_metadata,
    snapshots,
    standard_snapshots,
    status,
    tags,
    transfers,
    types,
    usage,
    vendor_tags,
    volume_lists,
    volumes,
)

ROUTERS: tuple[Router, ...] = (
    usage.routes,
    volume_lists.routes,  # before what takes any word for a volume's id
    tags.routes,
    vendor_tags.routes,
    volumes.routes,
    jobs.routes,
    cinder_volumes.routes,
    metadata.routes,
    snapshots.routes,
    cinder_snapshots.routes,
    snapshot_metadata.routes,
    standard_snapshots.routes,
    snapshot_groups.routes,
    types.routes,
    transfers.routes,
    attachments.routes,
    luks_headers.routes,
    *quotas.ROUTERS,
    *status.ROUTERS,
)
