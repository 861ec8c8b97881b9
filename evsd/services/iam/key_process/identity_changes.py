"""Changes of who may do what, made where the audit log is written.

evsd reads these records, but it could not change them and write the log as one: it would have to
wait for this process with the database locked, and this process for the database.
"""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_process.use_records import UsageLog
from evsd.services.iam import agencies, groups, projects, users
from evsd.services.iam.changes import Facts, Named, changes_of
from evsd.services.iam.operations import ChangeIdentity
from evsd.store.database import Database

CHANGES = changes_of(users, groups, projects, agencies)


class IdentityChanges:
    """Users, groups, roles, agencies, projects and domains: all that changes who may do what."""

    def __init__(self, database: Database, usage: UsageLog) -> None:
        self._database, self._used = database, usage.used

    @ChangeIdentity.handler
    def change_identity(self, call: Call, request: ChangeIdentity) -> Facts:
        """Carry out one of the `CHANGES`; raises what it is refused with."""
        change, named = request.change, request.named
        action, asked = change.replace("_", "-"), _as_text(named)
        with (
            self._database.transaction() as session,
            self._used(call, action, context=asked) as use,
        ):
            facts = CHANGES[change](session, call.domain_id, **named)
            session.flush()  # what the database refuses must not be recorded as done
            use.context = asked | facts
        return facts


def _as_text(named: dict[str, Named]) -> dict[str, str]:
    """What was asked for, as the record's context holds it."""
    return {name: _text(value) for name, value in named.items() if value is not None}


def _text(value: Named) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
