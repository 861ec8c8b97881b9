"""What falls due by itself: rotations, the end of imported material, the destruction of keys.

Destruction marks the record first and destroys the objects second, so that no record ever offers a
key that is gone; objects a crash left over are destroyed by the next round. While the records are
from a backup nothing is destroyed: that a deletion was cancelled since they would not know.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.key_channel.call import Call
from evsd.services.kms.consumers import dependents_of
from evsd.services.kms.key_process.clock import SteadyClock
from evsd.services.kms.key_process.grants import remove_grants
from evsd.services.kms.key_process.key_store import DESTROYED_MARK, KeyStore, destroy_objects
from evsd.services.kms.key_process.rotation import Rotation
from evsd.services.kms.operations import RotateOnDemand
from evsd.services.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.services.kms.tables import Cmk, KeyDependent, KeyVersion
from evsd.store.database import utcnow
from evsd.store.transitions import advance

log = structlog.get_logger()


class Maintenance:
    """One key's trouble does not hold up the others."""

    def __init__(self, keys: KeyStore, rotation: Rotation) -> None:
        self._keys, self._rotation = keys, rotation
        self._clock = SteadyClock()
        self._told: dict[tuple[str, str], int] = {}  # days left, by what hangs on the key

    async def round(self) -> AsyncIterator[None]:
        """Do what is due now; yields after each key, for requests come first."""
        now = utcnow()
        with self._keys.database.transaction() as session:
            steady = self._clock.tick(session)
        self._warn(now)
        for what, carry_out, due in (
            ("expire", self._expire, self._expired(now)),
            ("rotate", self._rotate, self._to_rotate(now)),
        ):
            for key_id in due:
                self._attempt(what, carry_out, key_id)
                yield
        restored = self._keys.database.restored
        for key_id in self._to_destroy(now) + self._leftovers():
            if restored:
                log.warning("key not destroyed: the database was restored", key=key_id)
            elif steady:
                self._attempt("destroy", self._destroy, key_id)
            else:
                log.warning("key not destroyed yet: the clock is not steady", key=key_id)
            yield

    def _warn(self, now: datetime) -> None:
        """Say once a day what will become unreadable, and when."""
        query = (
            select(Cmk.alias, Cmk.deletion_at, KeyDependent)
            .join(KeyDependent, KeyDependent.key_id == Cmk.id)
            .where(Cmk.status == KeyState.PENDING_DELETION, Cmk.deletion_at.is_not(None))
        )
        with self._keys.database.reading() as session:
            found = session.execute(query).all()
        told = {}
        for alias, day, thing in found:
            days = max(0, math.ceil(((day or now) - now) / timedelta(days=1)))
            if self._told.get((thing.kind, thing.id)) != days:
                facts = {thing.kind: thing.id, "name": thing.name, "key": alias, "days_left": days}
                log.warning(f"{_with_article(thing.kind)}'s key will be destroyed", **facts)
            told[thing.kind, thing.id] = days
        self._told = told

    def _attempt(self, what: str, carry_out: Callable[[str], None], key_id: str) -> None:
        try:
            carry_out(key_id)
        except PublishedError as error:
            log.error("upkeep of a key failed", what=what, key=key_id, reason=error.message)
        except Exception:
            log.exception("upkeep of a key failed", what=what, key=key_id)
        else:
            log.info("upkeep of a key", what=what, key=key_id)

    # --- what is due ---------------------------------------------------------------------------

    def _ids(self, query: Select[Any]) -> list[str]:
        with self._keys.database.reading() as session:
            return list(session.scalars(query))

    def _expired(self, now: datetime) -> list[str]:
        query = (
            select(KeyVersion.key_id)
            .join(Cmk)
            .where(
                KeyVersion.expires_at <= now,
                KeyVersion.gone_at.is_(None),
                Cmk.status.in_((KeyState.ENABLED, KeyState.DISABLED)),
            )
        )
        return self._ids(query)

    def _to_rotate(self, now: datetime) -> list[str]:
        query = select(Cmk).where(Cmk.rotation_days.is_not(None), Cmk.status == KeyState.ENABLED)
        with self._keys.database.reading() as session:
            return [
                cmk.id
                for cmk in session.scalars(query)
                if cmk.rotation_from
                and cmk.rotation_from + timedelta(days=cmk.rotation_days or 0) <= now
            ]

    def _to_destroy(self, now: datetime) -> list[str]:
        query = select(Cmk.id).where(
            Cmk.status == KeyState.PENDING_DELETION, Cmk.deletion_at <= now
        )
        return self._ids(query)

    def _leftovers(self) -> list[str]:
        """Keys whose record has given up the objects that the token still has."""
        query = (
            select(KeyVersion.key_id)
            .join(Cmk)
            .where(
                Cmk.status.in_((KeyState.DESTROYED, KeyState.PENDING_IMPORT)),
                KeyVersion.gone_at.is_(None),
            )
        )
        return self._ids(query.distinct())

    # --- what is done --------------------------------------------------------------------------

    def _rotate(self, key_id: str) -> None:
        self._rotation.rotate_on_demand(self._call(key_id), RotateOnDemand(key_id))

    def _expire(self, key_id: str) -> None:
        """End the use of imported material; once the clock is steady it is destroyed."""
        with self._keys.changing(self._call(key_id), "expire-key-material", key_id) as (
            session,
            cmk,
        ):
            advance(session, cmk, KEY_STATES, KeyEvent.LOSE_MATERIAL)

    def _destroy(self, key_id: str) -> None:
        call = self._call(key_id)
        self._keys.token.probe()  # nothing is marked destroyed while the token is away
        with self._keys.database.transaction() as session:
            cmk = session.get_one(Cmk, key_id)
            if cmk.status == KeyState.PENDING_DELETION and _is_due(cmk):
                lost = _unreadable(session, key_id)
                with self._keys.used(call, "destroy-key", key_id, lost, signed=True) as use:
                    use.of(cmk)
                    freed = f"{cmk.alias}{DESTROYED_MARK}{cmk.id}"
                    advance(session, cmk, KEY_STATES, KeyEvent.DESTROY, alias=freed)
                    remove_grants(session, key_id)
        if cmk.status in (KeyState.DESTROYED, KeyState.PENDING_IMPORT):
            destroy_objects(self._keys, key_id)

    def _call(self, key_id: str) -> Call:
        with self._keys.database.reading() as session:
            cmk = session.get_one(Cmk, key_id)
        return Call("service:kms", cmk.domain_id, cmk.project_id, "evsd-keys", "")


def _is_due(cmk: Cmk) -> bool:
    return cmk.deletion_at is not None and cmk.deletion_at <= utcnow()


def _unreadable(session: Session, key_id: str) -> dict[str, str]:
    """What can't be read any more, names by kinds and ids."""
    return {f"{thing.kind} {thing.id}": thing.name for thing in dependents_of(session, key_id)}


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
