"""The operations that are no one service's."""

from __future__ import annotations

from dataclasses import dataclass

from evsd.key_channel.operation import Request

Context = dict[str, str] | str  # what a ciphertext is bound to, or a record tells of a use


@dataclass(frozen=True, slots=True)
class Probe(Request[str]):
    """Why the token can't be used now; empty while it can."""


@dataclass(frozen=True, slots=True)
class RecordRefusal(Request[None]):
    """Write down what was refused before evsd-keys could be asked for it."""

    action: str
    key_id: str
    code: str
    context: Context = ""


@dataclass(frozen=True, slots=True)
class RecordChange(Request[None]):
    """Write down a change of evsd's own records that is about to be made."""

    action: str
    context: Context


@dataclass(frozen=True, slots=True)
class CheckAuditSignatures(Request[list[int] | None]):
    """Which of these (hash, signature) pairs are false, by index; None without the token."""

    pairs: list[tuple[str, str]]
