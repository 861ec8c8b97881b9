"""HTTP as evsctl speaks it: on the unix socket by itself, over TCP by way of httpx.

httpx takes as long to load as all else of evsctl; only who is on another host needs what it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Answer(NamedTuple):
    """What was answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class NoAnswer(Exception):
    """None came, or nothing that is HTTP; the cause says more where the system knows it.

    With `garbled` somebody is there, and speaks something else.
    """

    def __init__(self, reason: str, *, garbled: bool = False) -> None:
        super().__init__(reason)
        self.garbled = garbled


@dataclass(frozen=True, slots=True)
class Stream:
    """A body that is not JSON, sent in pieces: of so many bytes, and the SHA-256 of all in hex.

    The hash is asked for where it is signed, before the first piece.
    """

    length: int
    pieces: Iterator[bytes]
    sha256: Callable[[], str]


class Http(Protocol):
    """A connection to one evsd."""

    def request(
        self,
        method: str,
        path: str,
        content: bytes | Stream | None,
        query: Mapping[str, str],
        project: str = "",
    ) -> Answer:
        """The answer to one request, whose content is JSON or a stream; raises `NoAnswer`.

        `project` is the id of the project to work in, where the path names none.
        """
