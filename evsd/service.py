"""What a service is: its part in evsd, and what all services stand on.

A service is a folder of `evsd.services`, where it is listed once. Of these modules it has what it
needs, and each is found by its name:

    errors        what it refuses with, as published
    permissions   who may do what, declared with `evsd.policy`
    tables        its records
    routes        `ROUTERS`, its part of the HTTP API
    service       `build(host)`, its part in evsd: a `Service`
    operations    what evsd can ask it for in evsd-keys: classes of `Request`
    key_process   what it does in evsd-keys: `build(parts)`, its `KeyPart`, that carries them out
    consumer      `CONSUMER`, how it uses keys of tenants by way of the KMS
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evsd.jobs.service import Jobs
from evsd.key_channel.operation import Ask
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import Pool
from evsd.pools.watch import SpaceWatch
from evsd.principal import UnixUser
from evsd.resource import Resource
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database


@dataclass(frozen=True, slots=True)
class Host:
    """What the services of one evsd share."""

    id: str  # see `evsd.host`
    database: Database
    keys: KeyProcess
    pool: Pool
    space: SpaceWatch
    region: str
    zone: str  # the availability zone, the only one
    servers: ServerSupervisor
    jobs: Jobs
    owners: frozenset[int]  # the Unix users that started evsd
    unix_users: Mapping[str, UnixUser]  # whom the settings let others act as


class Service(Resource):
    """One service's part in evsd. It is made, meets the others, is prepared, started and closed."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def meet(self, services: Mapping[type[Service], Service]) -> None:
        """Learn of the other services of this evsd, once all are made."""

    def prepare(self, ask: Ask) -> None:
        """Do what must be done with each new key process before anybody else may ask it."""

    def start(self) -> None:
        """Go on with what the last run of evsd has left."""

    def warn(self) -> None:
        """Log what is wrong, once keys can be used or it is known why not."""

    def close(self) -> None:
        """End what was begun."""
