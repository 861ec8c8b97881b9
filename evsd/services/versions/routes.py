"""Which versions of which API there are: what clients read first, some before they can sign.

One server answers for all services, so one document names the versions of all. It is the same for
everybody and tells nothing of this server, so whoever asks need not say who it is, as published.
"""

from __future__ import annotations

from fastapi import Request

from evsd.api.router import Router, router
from evsd.api.routes import Model, open_to_all
from evsd.errors import ApiNotFound
from evsd.services.evs.microversions import NEWEST, OLDEST, in_words
from evsd.services.kms.style import KMS
from evsd.services.versions.permissions import VersionsPermission


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


class VersionResponse(VersionsResponse):
    """Of show version: KMS and Keystone publish one, EVS and Cinder a list of one."""

    version: Version


# By the word in the path.
VERSIONS = {
    "v1.0": {"id": "v1.0"},  # KMS, and the jobs of EVS as v1
    "v2": {"id": "v2.0"},  # EVS
    "v2.1": {"id": "v2.1"},
    "v3": {
        "id": "v3.0",
        "version": in_words(NEWEST),
        "min_version": in_words(OLDEST),
    },  # Cinder, IAM
}
SAME = {"v1": "v1.0", "v2.0": "v2", "v3.0": "v3"}
GLANCES = "/versions"  # where its client looks for them
OPEN_PATHS = frozenset(
    {"/", GLANCES, *(f"/{word}{end}" for word in {*VERSIONS, *SAME} for end in ("", "/"))}
)

routes: Router = router(KMS, "versions")
ROUTERS = (routes,)


@routes.get("/", **open_to_all(VersionsPermission.VERSION_SHOW))
@routes.get(GLANCES, **open_to_all(VersionsPermission.VERSION_SHOW))
def list_versions(request: Request) -> VersionsResponse:
    """All versions of all services."""
    return VersionsResponse(versions=[_version(request, word) for word in VERSIONS])


@routes.get("/{version_id}", **open_to_all(VersionsPermission.VERSION_SHOW))
@routes.get(
    "/{version_id}/", **open_to_all(VersionsPermission.VERSION_SHOW), include_in_schema=False
)
def show_version(version_id: str, request: Request) -> VersionResponse:
    """One version."""
    word = SAME.get(version_id, version_id)
    if word not in VERSIONS:
        raise ApiNotFound(method=request.method, path=request.url.path)
    version = _version(request, word)
    return VersionResponse(version=version, versions=[version])


def _version(request: Request, word: str) -> Version:
    # Clients follow it, so it leads to where this request came.
    link = Link(href=f"{str(request.base_url).rstrip('/')}/{word}/")
    return Version(**VERSIONS[word], links=[link])
