"""Changes of identity records: evsd asks for them, evsd-keys makes and records them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from evsd.api.routes import Caller, Services, UsesServices
from evsd.iam.changes import Change, Facts
from evsd.kms.call import Call


class Changes:
    """The changes of one request."""

    def __init__(self, call: Call, services: Services) -> None:
        self._call, self._services = call, services

    def make(self, change: Change, **named: object) -> Facts:
        """Have one change made, and return the new ids; it counts from the next request on."""
        try:
            answer = self._services.keys.call(
                "change_identity", self._call, change=change.__name__, named=named
            )
        finally:  # it may have been made even where no answer came
            self._services.identity.directory.forget()
        facts: Facts = answer["facts"]
        return facts


async def _changes(call: Caller, services: UsesServices) -> Changes:
    return Changes(call, services)


MakesChanges = Annotated[Changes, Depends(_changes)]
