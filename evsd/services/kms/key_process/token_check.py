"""Whether a token is the one that the keys of the database are on.

A token is known by its sentinel, a key made on it before any other. The database holds the
sentinel's check value, which no other key has: a token of another evsd, or one that was
initialised anew, is refused, for there every key would look destroyed.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import select

from evsd.errors import KeysUnavailable
from evsd.key_process.token.token import SENTINEL, Token
from evsd.services.iam.records import has_access_keys
from evsd.services.kms.tables import Cmk, TokenRecord
from evsd.store.database import Database


class TokenCheck:
    """`Token`'s check after each opening; the first token of a database is remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, token: Token) -> None:
        """Raise `KeysUnavailable` for another token than the known one.

        Only while no key is known may a token without a sentinel be given one, and only then may
        a token be replaced by another.
        """
        known = keys_known(self._database)
        if not known:
            token.ensure(SENTINEL)
        elif not token.has(SENTINEL):
            raise KeysUnavailable(
                reason="the token has no sentinel: it is another one, or was initialised anew"
            )
        check_value = hashlib.sha256(token.secret(SENTINEL)).hexdigest()[:16]
        with self._database.reading() as session:
            record = session.get(TokenRecord, 1)
        if record is not None and record.check_value == check_value:
            return
        if record is not None and known:
            raise KeysUnavailable(reason="the token is another evsd's: it has another sentinel")
        with self._database.transaction() as session:
            session.merge(TokenRecord(id=1, check_value=check_value))


def keys_known(database: Database) -> bool:
    """Whether any key was ever made: then its token must be there."""
    with database.reading() as session:
        has_keys = session.scalars(select(Cmk.id).limit(1)).first() is not None
        return has_keys or has_access_keys(session)
