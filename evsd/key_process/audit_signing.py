"""The key that signs the audit log's records: the token's, so that files alone can't forge them."""

from __future__ import annotations

from evsd.audit.chain import signature
from evsd.errors import KeysUnavailable
from evsd.key_channel.call import Call
from evsd.key_channel.shared import CheckAuditSignatures
from evsd.key_process import envelope
from evsd.key_process.token.token import Token

AUDIT_KEY = "evsd/audit"


class AuditSigning:
    """Derives the key once the token is there, and checks signatures for who reads the log."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._key: bytes | None = None

    def key(self) -> bytes | None:
        """The key, or None while the token was not there yet; never waits for the token."""
        if self._key is None and self._token.is_open:
            try:
                self._key = self._token.secret(AUDIT_KEY)
            except KeysUnavailable:
                return None
        return self._key

    @CheckAuditSignatures.handler
    def check_audit_signatures(
        self, _call: Call, request: CheckAuditSignatures
    ) -> list[int] | None:
        """Which of the pairs are false; None without the token."""
        key = self.key()
        if key is None:
            return None
        return [
            index
            for index, (digest, signed) in enumerate(request.pairs)
            if not envelope.same_secret(signature(key, digest), signed)
        ]
