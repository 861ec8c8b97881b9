"""What evsd can ask of evsd-keys is declared once, and carried out by one handler."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evsd.daemon.key_process import main
from evsd.key_channel import shared as own_operations
from evsd.key_channel.call import Call
from evsd.key_channel.codec import codec_of
from evsd.key_channel.operation import Request, answer_of, declared, name_of, operations_of
from evsd.key_process.audit_signing import AuditSigning
from evsd.key_process.service_part import Parts
from evsd.key_process.use_records import UsageLog
from evsd.services import load_records, modules
from evsd.store.database import Database


def all_declared() -> dict[str, type[Request[Any]]]:
    """Of all modules, each name once."""
    found: dict[str, type[Request[Any]]] = {}
    for module in (own_operations, *modules("operations")):
        own = declared(module)
        assert not own.keys() & found.keys()
        found |= own
    return found


def test_every_operation_that_is_declared_has_one_handler_and_none_has_another(
    tmp_path: Path,
) -> None:
    load_records()
    nothing: Any = None  # the token and the log are needed when somebody asks
    with closing(Database(f"sqlite:///{tmp_path / 'evsd.db'}")) as database:
        shared = Parts(database, nothing, UsageLog(nothing), {})
        parts = [module.build(shared) for module in modules("key_process")]
        operations = main._operations(shared, AuditSigning(nothing), parts)
    assert {name: each.kind for name, each in operations.items()} == all_declared()


def test_every_operation_can_be_sent_and_answered() -> None:
    for kind in all_declared().values():
        request: Any = kind
        codec_of(request)
        codec_of(answer_of(kind))


@dataclass(frozen=True, slots=True)
class Thing:
    sealed: bytes


@dataclass(frozen=True, slots=True)
class GetTwoThings(Request[list[Thing]]):
    key_id: str


class Handler:
    @GetTwoThings.handler
    def get_two_things(self, _call: Call, request: GetTwoThings) -> list[Thing]:
        return [Thing(request.key_id.encode())] * 2


def test_a_handler_is_found_by_its_request_whose_name_is_that_of_the_audit_log() -> None:
    assert name_of(GetTwoThings) == "get-two-things"
    operations = operations_of(Handler())
    wire = operations["get-two-things"](Call("", "", "", "", ""), {"key_id": "k"})
    assert wire == [{"sealed": "6b"}] * 2


def test_two_handlers_of_one_operation_are_refused() -> None:
    with pytest.raises(AssertionError, match="get-two-things"):
        operations_of(Handler(), Handler())
