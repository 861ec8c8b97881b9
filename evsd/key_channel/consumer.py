"""Who uses keys by way of the KMS: another service, as it describes itself."""

from __future__ import annotations

from dataclasses import dataclass

from evsd.errors import PublishedError


@dataclass(frozen=True, slots=True)
class Consumer:
    """A service that has data keys wrapped by CMKs of its tenants, where they delegate to it.

    It is `CONSUMER` in the service's module `consumer`.
    """

    service: str  # what its requests and its releases say, "evs"
    kind: str  # what each of its data keys is of, "volume": records of the audit log have it
    domain: str  # a tenant delegates by trusting this domain
    role_id: str  # with this role
    not_delegated: type[PublishedError]  # the refusal where none does, of `project` and `domain`
    default_alias: str  # of the CMK that a project gets where none is named
    default_description: str
    key_bits: int
