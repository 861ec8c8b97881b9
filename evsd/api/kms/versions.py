"""Which versions of the API there are."""

from __future__ import annotations

from fastapi.routing import APIRouter

from evsd.api import errors
from evsd.api.routes import Model, needs, router
from evsd.errors import NoSuchApi
from evsd.iam.policy import Permission


class Link(Model):
    """Where a version is."""

    href: str
    rel: str = "self"


class Version(Model):
    """A version of the API."""

    id: str
    links: list[Link]
    version: str = ""
    status: str = "CURRENT"
    updated: str = "2018-01-01T00:00:00Z"
    min_version: str = ""


class VersionsResponse(Model):
    """Of list versions."""

    versions: list[Version]


class VersionResponse(Model):
    """Of show version."""

    version: Version


routes: APIRouter = router(errors.KMS, "KMS")
VERSIONS = {"v1.0": Version(id="v1.0", links=[Link(href="/v1.0/")])}


@routes.get("/", **needs(Permission.VERSION_SHOW))
def list_versions() -> VersionsResponse:
    """All versions."""
    return VersionsResponse(versions=list(VERSIONS.values()))


@routes.get("/{version_id}", **needs(Permission.VERSION_SHOW))
def show_version(version_id: str) -> VersionResponse:
    """One version."""
    if version_id not in VERSIONS:
        raise NoSuchApi(method="GET", path=f"/{version_id}")
    return VersionResponse(version=VERSIONS[version_id])
