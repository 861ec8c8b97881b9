"""What a service does in evsd-keys, and what it stands on there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from evsd.key_channel.consumer import Consumer
from evsd.key_process.token.token import Token
from evsd.key_process.use_records import UsageLog
from evsd.store.database import Database

# Done now and then; yields after each piece of work, for requests come first.
Round = Callable[[], AsyncIterator[None]]


# Answers a process that asks for a key: a request line and its pid in, an answer line out.
REQUEST_LIMIT = 64 * 1024
Release = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services share in evsd-keys."""

    database: Database
    token: Token
    usage: UsageLog
    consumers: Mapping[str, Consumer]  # by the names of their services


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One service's part: objects with handlers, see `evsd.key_channel.operation`."""

    operations: tuple[object, ...]
    maintenance: tuple[Round, ...] = ()
    release: Release | None = None
