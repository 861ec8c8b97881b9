"""Access keys (AK/SK): made, listed, deleted, and signatures checked, where their secrets are."""

from __future__ import annotations

from sqlalchemy import select

from evsd.errors import IamNotFound, NotSigned
from evsd.iam.signature import sign
from evsd.kms import crypto
from evsd.kms.call import Call
from evsd.kms.service import Operation, Result, key_label
from evsd.kms.token import Token, TokenKey
from evsd.kms.usage import UsageLog
from evsd.store.database import Database, utcnow
from evsd.store.tables import AccessKey

# The service's own key, which wraps the secrets of access keys; no tenant has a CMK of this id.
WRAPPING_KEY_ID = "00000000-0000-0000-0000-000000000001"


class AccessKeyService:
    """Access keys of all users; their secrets leave this process once, when they are made."""

    def __init__(self, database: Database, token: Token, usage: UsageLog) -> None:
        self._database, self._token, self._used = database, token, usage.used
        self._secrets: dict[str, str] = {}  # opened ones, by AK

    @property
    def operations(self) -> dict[str, Operation]:
        """What evsd may ask for over the control channel, by name."""
        return {
            "create_access_key": self.create_access_key,
            "list_access_keys": self.list_access_keys,
            "delete_access_key": self.delete_access_key,
            "check_signature": self.check_signature,
        }

    def create_access_key(self, call: Call, description: str) -> Result:
        """A new AK/SK pair for the caller; the secret is told this once."""
        access, secret = crypto.new_access_key()
        context = {"access": access}
        key = self._wrapping_key()
        with (
            self._database.transaction() as session,
            self._used(call, "create-access-key", WRAPPING_KEY_ID, context),
        ):
            record = AccessKey(
                access=access,
                domain_id=call.domain_id,
                user_name=call.principal,
                wrapped_secret=crypto.wrap(key, WRAPPING_KEY_ID, 1, secret.encode(), context),
                description=description,
                created_at=utcnow(),
            )
            session.add(record)
        return {**_credential(record), "secret": secret}

    def list_access_keys(self, call: Call) -> Result:
        """The caller's access keys, without their secrets."""
        query = select(AccessKey).where(
            AccessKey.domain_id == call.domain_id, AccessKey.user_name == call.principal
        )
        with self._database.reading() as session:
            found = session.scalars(query.order_by(AccessKey.created_at))
            return {"credentials": [_credential(record) for record in found]}

    def delete_access_key(self, call: Call, access: str) -> Result:
        """End an access key of the caller's; raises `IamNotFound`."""
        owner = (call.domain_id, call.principal)
        with (
            self._database.transaction() as session,
            self._used(call, "delete-access-key", WRAPPING_KEY_ID, {"access": access}),
        ):
            record = session.get(AccessKey, access)
            if record is None or (record.domain_id, record.user_name) != owner:
                raise IamNotFound(what="access key", name=access)
            session.delete(record)
        self._secrets.pop(access, None)
        return {}

    def check_signature(self, call: Call, access: str, text: str, signature: str) -> Result:
        """Who signed `text`; raises `NotSigned`. The secret stays in this process."""
        with self._database.reading() as session:
            record = session.get(AccessKey, access)
        if record is None:
            raise NotSigned(reason=f"access key {access} does not exist")
        if not crypto.same_secret(sign(self._secret(call, record), text), signature):
            raise NotSigned(reason="signature verification failed")
        return {"user_name": record.user_name, "domain_id": record.domain_id}

    def _secret(self, call: Call, record: AccessKey) -> str:
        if record.access not in self._secrets:
            context = {"access": record.access}
            with self._used(call, "open-access-key", WRAPPING_KEY_ID, context):
                try:
                    envelope = crypto.parse(record.wrapped_secret)
                    secret = crypto.unwrap(self._wrapping_key(), envelope, context)
                except crypto.EnvelopeError as error:
                    raise NotSigned(reason=f"access key {record.access} can't be opened") from error
            self._secrets[record.access] = secret.decode()
        return self._secrets[record.access]

    def _wrapping_key(self) -> TokenKey:
        return self._token.ensure(key_label(WRAPPING_KEY_ID, 1))


def _credential(record: AccessKey) -> Result:
    return {
        "access": record.access,
        "user_id": record.user_name,
        "status": "active",
        "description": record.description,
        "create_time": record.created_at.isoformat() + "Z",
    }
