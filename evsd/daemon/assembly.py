"""All parts of evsd: they are started in order, serve, and are ended in the opposite order.

Loaded while evsd-keys loads too.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import structlog

from evsd.api.app import build_app
from evsd.api.gateway import Gatekeeper
from evsd.api.listeners import listen_unix
from evsd.api.server import Server
from evsd.daemon.ready import await_keys, tell_ready
from evsd.daemon.settings import FileSettings, StateDirectory
from evsd.host import host_id
from evsd.jobs.service import Jobs
from evsd.key_channel.operation import Ask
from evsd.key_client.process import KeyProcess
from evsd.pools.file import FilePool
from evsd.pools.watch import POOL, STATE, SpaceWatch
from evsd.service import Host, Service
from evsd.services import load_records, modules
from evsd.services.iam.service import IamService, region_of
from evsd.services.kms import consumers
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database
from evsd.store.url import url_of

log = structlog.get_logger()


def serve(
    state: StateDirectory,
    pool: Path,
    settings: FileSettings,
    owners: frozenset[int],
    keys: KeyProcess,
    listeners: list[socket.socket],
    tls: ssl.SSLContext | None,
    *,
    accepts: bool,
) -> None:
    """Until SIGTERM, as who is not root any more: `owners` are root and who started evsd.

    `keys` has begun to load, and ends with the other parts.
    """
    with contextlib.ExitStack() as stack:
        load_records()
        database = stack.enter_context(contextlib.closing(Database(url_of(state.database))))
        # Before anything else is made: on a full filesystem it has room for all that is.
        database.migrate()
        listeners.append(stack.enter_context(listen_unix(state.http_socket)))
        _look_at_age(database, accepts=accepts)
        host = _host(state, pool, settings, owners, database, keys)
        parts: list[Service] = [module.build(host) for module in modules("service")]
        for part in parts:
            part.meet({type(each): each for each in parts})
        stack.enter_context(keys).start(lambda ask: _prepare(parts, ask))
        stack.enter_context(host.servers).start()
        for part in parts:
            stack.enter_context(part)
        stack.enter_context(host.jobs)  # which end before what they work with
        for part in parts:
            part.start()
        stack.enter_context(host.space).start()
        app = build_app(modules("routes"), _gatekeeper(parts), host, parts)
        trouble = await_keys(keys)
        for part in parts:
            part.warn()
        with _signals_are_uvicorns():
            Server(app, tls, lambda: tell_ready(listeners, tls, trouble)).run(listeners)


def _host(
    state: StateDirectory,
    pool: Path,
    settings: FileSettings,
    owners: frozenset[int],
    database: Database,
    keys: KeyProcess,
) -> Host:
    own_id, files = host_id(state.host), FilePool(pool)
    servers = ServerSupervisor(
        database,
        files,
        consumers,
        state.release_socket,
        state.servers,
        own_id,
        settings.attach.gid,
    )
    return Host(
        id=own_id,
        database=database,
        keys=keys,
        pool=files,
        space=SpaceWatch(
            _filesystems(state, pool), settings.space.low_percent, database.hold_reserve
        ),
        region=region_of(database, settings.region),
        zone=settings.availability_zone,
        servers=servers,
        jobs=Jobs(database, own_id),
        owners=owners,
        unix_users=settings.mapped_users,
    )


def _filesystems(state: StateDirectory, pool: Path) -> dict[str, Path]:
    """The directories to watch, one on each filesystem."""
    if pool.stat().st_dev == state.path.stat().st_dev:
        return {POOL: pool}
    return {POOL: pool, STATE: state.path}


def _prepare(parts: list[Service], ask: Ask) -> None:
    for part in parts:
        part.prepare(ask)


def _gatekeeper(parts: list[Service]) -> Gatekeeper:
    """Who is known here is IAM's to say."""
    (iam,) = (part for part in parts if isinstance(part, IamService))
    return iam.gatekeeper


def _look_at_age(database: Database, *, accepts: bool) -> None:
    """Say that a database is from a backup, until somebody says that it is to be gone on with."""
    if accepts:
        database.accept()
    elif database.restored:
        log.error(
            "the database was restored: it is older than what was done since",
            remedy="look through what evsd logs now and through `evsctl key list`; no key is "
            "destroyed until evsd was started once with --accept-restored-database",
        )


@contextlib.contextmanager
def _signals_are_uvicorns() -> Iterator[None]:
    """Uvicorn stops on these signals, then raises them again: by then they must not kill."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    yield
