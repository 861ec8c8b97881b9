"""Tags of CMKs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response
from pydantic import AfterValidator, Field

from evsd.api.fields import MAX_OFFSET, UUID_PATTERN
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, UsesRegion, needs
from evsd.services.kms import operations
from evsd.services.kms.permissions import KmsPermission
from evsd.services.kms.routes.bodies import BASE, Body, KeyDetails, Number, key_details
from evsd.services.kms.style import KMS

FORBIDDEN = set("*<>\\=")


def _tag_text(value: str) -> str:
    if not value.isprintable() or FORBIDDEN & set(value):
        raise ValueError(f"control characters and {' '.join(sorted(FORBIDDEN))} are not allowed")
    return value


def _tag_key(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return _tag_text(value)


TagKey = Annotated[str, Field(min_length=1, max_length=36), AfterValidator(_tag_key)]
TagValue = Annotated[str, Field(max_length=43), AfterValidator(_tag_text)]
PathKeyId = Annotated[str, Path(pattern=UUID_PATTERN)]


class Tag(Model):
    """A tag."""

    key: TagKey
    value: TagValue = ""


class CreateTagBody(Body):
    """Create tag."""

    tag: Tag


class TagsActionBody(Body):
    """Create or delete several tags."""

    tags: Annotated[list[Tag], Field(min_length=1, max_length=20)]
    action: Annotated[str, Field(pattern="^(create|delete)$")]


class TagFilter(Model):
    """A tag and the values that will do; none listed: any."""

    key: TagKey
    values: Annotated[list[TagValue], Field(default_factory=list, max_length=10)]


class Match(Model):
    """A part of a resource's name."""

    key: Annotated[str, Field(pattern="^resource_name$")]
    value: Annotated[str, Field(max_length=255)] = ""


class InstancesBody(Body):
    """Keys by tags."""

    action: Annotated[str, Field(pattern="^(filter|count)$")]
    tags: Annotated[list[TagFilter], Field(default_factory=list, max_length=10)]
    matches: Annotated[list[Match], Field(default_factory=list, max_length=1)]
    limit: Annotated[Number, Field(ge=1, le=1000)] = 10
    offset: Annotated[Number, Field(ge=0, le=MAX_OFFSET)] = 0


class TagView(Model):
    """A tag as it is."""

    key: str
    value: str


class KeyTagsResponse(Model):
    """The tags of a key."""

    tags: list[TagView]
    exist_tags_num: Annotated[int, Field(alias="existTagsNum")]


class TagValues(Model):
    """A tag's key with all its values in the project."""

    key: str
    values: list[str]


class ProjectTagsResponse(Model):
    """All tags of a project."""

    tags: list[TagValues]


class TaggedKey(Model):
    """A key and its tags."""

    resource_id: str
    resource_detail: KeyDetails
    resource_name: str
    tags: list[TagView]


class InstancesResponse(Model):
    """Keys by tags; only the count for action "count"."""

    resources: list[TaggedKey]
    total_count: int


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/resource_instances/action", **needs(KmsPermission.TAG_LIST))
async def keys_by_tags(
    body: InstancesBody, call: Caller, keys: UsesKeys, region: UsesRegion
) -> InstancesResponse:
    """The keys that have all these tags, or how many they are."""
    wanted = operations.KeysByTags(
        tags=[operations.TagValues(tag.key, tag.values) for tag in body.tags],
        alias_part=body.matches[0].value if body.matches else "",
        limit=body.limit if body.action == "filter" else None,
        offset=body.offset,
    )
    found = await keys.ask(call, wanted)
    resources = [_tagged(key, region) for key in found.keys]
    return InstancesResponse(resources=resources, total_count=found.total)


@routes.get(f"{BASE}/tags", **needs(KmsPermission.TAG_LIST))
async def project_tags(call: Caller, keys: UsesKeys) -> ProjectTagsResponse:
    """All tags of the project's keys."""
    found = await keys.ask(call, operations.ProjectTags())
    return ProjectTagsResponse(tags=[TagValues(key=tag.key, values=tag.values) for tag in found])


@routes.get(f"{BASE}/{{key_id}}/tags", **needs(KmsPermission.TAG_LIST))
async def key_tags(key_id: PathKeyId, call: Caller, keys: UsesKeys) -> KeyTagsResponse:
    """The tags of one key."""
    tags = await keys.ask(call, operations.KeyTags(key_id))
    return KeyTagsResponse(tags=_views(tags), exist_tags_num=len(tags))


@routes.post(f"{BASE}/{{key_id}}/tags", status_code=204, **needs(KmsPermission.TAG_CHANGE))
async def tag_key(key_id: PathKeyId, body: CreateTagBody, call: Caller, keys: UsesKeys) -> Response:
    """Add one tag, or change its value."""
    await keys.ask(call, operations.TagKey(key_id, _wanted([body.tag])))
    return Response(status_code=204)


@routes.post(f"{BASE}/{{key_id}}/tags/action", status_code=204, **needs(KmsPermission.TAG_CHANGE))
async def change_tags(
    key_id: PathKeyId, body: TagsActionBody, call: Caller, keys: UsesKeys
) -> Response:
    """Add or remove several tags; all or none."""
    if body.action == "create":
        await keys.ask(call, operations.TagKey(key_id, _wanted(body.tags)))
    else:
        await keys.ask(call, operations.UntagKey(key_id, [tag.key for tag in body.tags]))
    return Response(status_code=204)


@routes.delete(
    f"{BASE}/{{key_id}}/tags/{{key}}", status_code=204, **needs(KmsPermission.TAG_CHANGE)
)
async def untag_key(key_id: PathKeyId, key: str, call: Caller, keys: UsesKeys) -> Response:
    """Remove one tag."""
    await keys.ask(call, operations.UntagKey(key_id, [key]))
    return Response(status_code=204)


def _wanted(tags: list[Tag]) -> list[operations.Tag]:
    return [operations.Tag(tag.key, tag.value) for tag in tags]


def _views(tags: list[operations.Tag]) -> list[TagView]:
    return [TagView(key=tag.key, value=tag.value) for tag in tags]


def _tagged(tagged: operations.TaggedKey, region: str) -> TaggedKey:
    details = key_details(tagged.key, region)
    return TaggedKey(
        resource_id=details.key_id,
        resource_detail=details,
        resource_name=details.key_alias,
        tags=_views(tagged.tags),
    )
