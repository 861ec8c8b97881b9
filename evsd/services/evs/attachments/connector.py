"""A connector: what a client says of the host that takes a volume, and of what it made there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from sqlalchemy import JSON, Dialect
from sqlalchemy.types import TypeDecorator

from evsd.connector import Transport

# Those with a device on the host, as evsctl names them.
DEVICE_TRANSPORTS = frozenset(get_args(Transport))


@dataclass(frozen=True, slots=True)
class Connector:
    """What evsd reads of it, and all of it as `given`: of what else it holds evsd knows nothing."""

    host: str = ""
    transport: str = ""
    mountpoint: str = ""  # the device
    given: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Connector:
        """As a client gives it, in whatever form."""
        known = {name: str(given.get(name) or "") for name in ("host", "transport", "mountpoint")}
        return cls(**known, given=MappingProxyType(dict(given)))

    @property
    def wants_device(self) -> bool:
        """Whether there is to be a device of evsctl's making."""
        return self.transport in DEVICE_TRANSPORTS


class ConnectorColumn(TypeDecorator[Connector]):
    """Kept as it was given."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Connector | None, dialect: Dialect) -> object:  # noqa: ARG002
        """On its way into the database."""
        return None if value is None else dict(value.given)

    def process_result_value(self, value: Any, dialect: Dialect) -> Connector | None:  # noqa: ARG002
        """On its way back."""
        return None if value is None else Connector.of(value)
