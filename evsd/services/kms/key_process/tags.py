"""Tags of CMKs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.services.kms.errors import TagNotFound, TagQuotaExceeded
from evsd.services.kms.key_process.key_store import KeyStore, find
from evsd.services.kms.key_process.lifecycle import key_details
from evsd.services.kms.operations import (
    KeysByTags,
    KeyTags,
    ProjectTags,
    Tag,
    TaggedKey,
    TaggedKeys,
    TagKey,
    TagValues,
    UntagKey,
)
from evsd.services.kms.states import KeyState
from evsd.services.kms.tables import Cmk, KeyTag

TAG_QUOTA = 10


class Tags:
    """Tags are words on records: they name no key's use and need no token."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @TagKey.handler
    def tag_key(self, call: Call, request: TagKey) -> None:
        """Add tags or change their values; raises `TagQuotaExceeded`."""
        with self._keys.changing(call, "tag-key", request.key_id) as (session, cmk):
            there = {tag.name for tag in _tags(session, cmk.id)}
            if len(there | {tag.key for tag in request.tags}) > TAG_QUOTA:
                raise TagQuotaExceeded(name=cmk.alias, quota=TAG_QUOTA)
            for tag in request.tags:
                session.merge(KeyTag(key_id=cmk.id, name=tag.key, value=tag.value))

    @UntagKey.handler
    def untag_key(self, call: Call, request: UntagKey) -> None:
        """Remove tags; raises `TagNotFound` where one isn't there."""
        with self._keys.changing(call, "untag-key", request.key_id) as (session, cmk):
            for name in request.names:
                tag = session.get(KeyTag, (cmk.id, name))
                if tag is None:
                    raise TagNotFound(name=cmk.alias, tag=name)
                session.delete(tag)

    @KeyTags.handler
    def key_tags(self, call: Call, request: KeyTags) -> list[Tag]:
        """The tags of one key."""
        with self._keys.database.reading() as session:
            return _told(_tags(session, find(session, call, request.key_id).id))

    @ProjectTags.handler
    def project_tags(self, call: Call, _request: ProjectTags) -> list[TagValues]:
        """All tags of a project's keys, each with its values."""
        query = (
            select(KeyTag.name, KeyTag.value)
            .join(Cmk)
            .where(Cmk.project_id == call.project_id, Cmk.status != KeyState.DESTROYED)
            .distinct()
            .order_by(KeyTag.name, KeyTag.value)
        )
        values: dict[str, list[str]] = {}
        with self._keys.database.reading() as session:
            for name, value in session.execute(query):
                values.setdefault(name, []).append(value)
        return [TagValues(name, found) for name, found in values.items()]

    @KeysByTags.handler
    def keys_by_tags(self, call: Call, request: KeysByTags) -> TaggedKeys:
        """One page of the keys that have all these tags, newest first."""
        query: Select[Any] = select(Cmk).where(
            Cmk.project_id == call.project_id, Cmk.status != KeyState.DESTROYED
        )
        if request.alias_part:
            query = query.where(Cmk.alias.contains(request.alias_part, autoescape=True))
        for tag in request.tags:
            query = _having(query, tag.key, tag.values)
        limit, page = request.limit, query.order_by(Cmk.created_at.desc(), Cmk.id)
        with self._keys.database.reading() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = page.offset(request.offset).limit(limit)
            found = list(session.scalars(page)) if limit is not None else []
            keys = [TaggedKey(key_details(cmk), _told(_tags(session, cmk.id))) for cmk in found]
        return TaggedKeys(keys, total)


def _having(query: Select[Any], name: str, values: list[str]) -> Select[tuple[Cmk]]:
    tagged = select(KeyTag.key_id).where(KeyTag.name == name)
    if values:
        tagged = tagged.where(KeyTag.value.in_(values))
    return query.where(Cmk.id.in_(tagged))


def _tags(session: Session, key_id: str) -> list[KeyTag]:
    query = select(KeyTag).where(KeyTag.key_id == key_id)
    return list(session.scalars(query.order_by(KeyTag.name)))


def _told(tags: Iterable[KeyTag]) -> list[Tag]:
    return [Tag(tag.name, tag.value) for tag in tags]
