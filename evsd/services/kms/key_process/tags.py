"""Tags of CMKs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from evsd.key_channel.call import Call, Result, operation
from evsd.services.kms.errors import TagNotFound, TooManyTags
from evsd.services.kms.key_process.key_store import KeyStore, find
from evsd.services.kms.key_process.lifecycle import key_details
from evsd.services.kms.states import KeyState
from evsd.services.kms.tables import Cmk, KeyTag

TAG_QUOTA = 10

Tags = list[dict[str, str]]  # each with "key" and "value"


class KeyTags:
    """Tags are words on records: they name no key's use and need no token."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @operation
    def tag_key(self, call: Call, key_id: str, tags: Tags) -> Result:
        """Add tags or change their values; raises `TooManyTags`."""
        with self._keys.changing(call, "tag-key", key_id) as (session, cmk):
            there = {tag.name: tag for tag in _tags(session, cmk.id)}
            if len(there.keys() | {tag["key"] for tag in tags}) > TAG_QUOTA:
                raise TooManyTags(name=cmk.alias, quota=TAG_QUOTA)
            for tag in tags:
                session.merge(KeyTag(key_id=cmk.id, name=tag["key"], value=tag["value"]))
        return {}

    @operation
    def untag_key(self, call: Call, key_id: str, names: list[str]) -> Result:
        """Remove tags; raises `TagNotFound` where one isn't there."""
        with self._keys.changing(call, "untag-key", key_id) as (session, cmk):
            for name in names:
                tag = session.get(KeyTag, (cmk.id, name))
                if tag is None:
                    raise TagNotFound(name=cmk.alias, tag=name)
                session.delete(tag)
        return {}

    @operation
    def key_tags(self, call: Call, key_id: str) -> Result:
        """The tags of one key."""
        with self._keys.database.reading() as session:
            return {"tags": _spelled(_tags(session, find(session, call, key_id).id))}

    @operation
    def project_tags(self, call: Call) -> Result:
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
        return {"tags": [{"key": name, "values": found} for name, found in values.items()]}

    @operation
    def keys_by_tags(
        self,
        call: Call,
        tags: list[dict[str, list[str]]],
        alias_part: str,
        limit: int | None,
        offset: int,
    ) -> Result:
        """Keys that have every one of `tags` with one of its values (any, if it lists none)."""
        query: Select[Any] = select(Cmk).where(
            Cmk.project_id == call.project_id, Cmk.status != KeyState.DESTROYED
        )
        if alias_part:
            query = query.where(Cmk.alias.contains(alias_part, autoescape=True))
        for tag in tags:
            query = _having(query, str(tag["key"]), tag["values"])
        page = query.order_by(Cmk.created_at.desc(), Cmk.id).offset(offset)
        with self._keys.database.reading() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            found = list(session.scalars(page.limit(limit))) if limit is not None else []
            resources = [
                {"key": key_details(cmk), "tags": _spelled(_tags(session, cmk.id))} for cmk in found
            ]
        return {"resources": resources, "total": total}


def _having(query: Select[Any], name: str, values: list[str]) -> Select[tuple[Cmk]]:
    tagged = select(KeyTag.key_id).where(KeyTag.name == name)
    if values:
        tagged = tagged.where(KeyTag.value.in_(values))
    return query.where(Cmk.id.in_(tagged))


def _tags(session: Session, key_id: str) -> list[KeyTag]:
    query = select(KeyTag).where(KeyTag.key_id == key_id)
    return list(session.scalars(query.order_by(KeyTag.name)))


def _spelled(tags: Iterable[KeyTag]) -> Tags:
    return [{"key": tag.name, "value": tag.value} for tag in tags]
