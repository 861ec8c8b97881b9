"""Changes of identity records: evsd asks for them, evsd-keys makes and records them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from evsd.api.routes import Caller
from evsd.key_channel.call import Call
from evsd.services.iam.changes import Change, Facts, Named
from evsd.services.iam.operations import ChangeIdentity
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.service import IamService


class Changes:
    """The changes of one request."""

    def __init__(self, call: Call, iam: IamService) -> None:
        self._call, self._iam = call, iam

    def make(self, change: Change, **named: Named) -> Facts:
        """Have one change made, and return the new ids; it counts from the next request on."""
        try:
            return self._iam.keys.call(self._call, ChangeIdentity(change.__name__, named))
        finally:  # it may have been made even where no answer came
            self._iam.directory.forget()


async def _changes(call: Caller, iam: UsesIam) -> Changes:
    return Changes(call, iam)


MakesChanges = Annotated[Changes, Depends(_changes)]
