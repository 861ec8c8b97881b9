"""evsd's entry: starts all parts in order, serves, and ends them in the opposite order."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import structlog
from sqlalchemy.exc import SQLAlchemyError

import evsd
from evsd.api.app import build_app
from evsd.api.gateway import Gatekeeper
from evsd.api.server import Server, listen_tcp, listen_unix
from evsd.daemon import privileges
from evsd.daemon.ready import await_keys, tell_ready
from evsd.daemon.settings import (
    BadOption,
    BadSettings,
    FileSettings,
    StateDirectory,
    read_file,
    refuse_unreadable,
    told_of,
)
from evsd.daemon.state import refuse_lost_database, taken
from evsd.daemon.tls import server_context
from evsd.errors import PublishedError
from evsd.host import host_id
from evsd.jobs.service import Jobs
from evsd.key_channel.operation import Ask
from evsd.key_client.process import KeyProcess, KeyProcessPaths
from evsd.logs import configure_logging
from evsd.pools.file import FilePool
from evsd.pools.watch import POOL, STATE, SpaceWatch
from evsd.processes import harden
from evsd.service import Host, Service
from evsd.services import load_records, modules
from evsd.services.iam.service import IamService, region_of
from evsd.services.kms import consumers
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database
from evsd.store.sqlite import DatabaseUnsupported, url_of

KEY_PROGRAM = "evsd.daemon.key_process"

log = structlog.get_logger()


@click.command()
@click.option(
    "--state-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where evsd keeps its token, database, pool and sockets; made at the first start.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve the API on TCP too: with TLS, or in clear on loopback only.",
)
@click.option(
    "--allow-plain-http",
    "plain",
    is_flag=True,
    help="Let --http serve in clear beyond loopback: signatures hide nothing.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with more settings: region, pool, user, [hsm], [audit], [attach], [space], "
    "[unix_users], [database], [tls].",
)
@click.option(
    "--new-database",
    is_flag=True,
    help="Start with an empty database where it was lost and the token was not; "
    "`evsctl recover` then registers the volumes.",
)
@click.option(
    "--accept-restored-database",
    "accepts",
    is_flag=True,
    help="Once, after a database from a backup was looked through: keys whose deletion is due are "
    "destroyed again.",
)
@click.version_option(evsd.__version__, prog_name="evsd")
def main(
    state_dir: Path,
    http: str | None,
    plain: bool,
    config: Path | None,
    new_database: bool,
    accepts: bool,
) -> None:
    """Serve encrypted block volumes.

    Runs in the foreground until SIGTERM.

    Ready when STATE_DIR/evsd.sock accepts. Attached volumes stay attached when evsd stops.
    """
    configure_logging()
    try:
        settings = read_file(config)
        with told_of(config):
            state = StateDirectory(state_dir, settings.database.file)
        pool = settings.pool or state.pool
        if not new_database:
            refuse_lost_database(state, pool)
        accepts |= not state.database.exists()
        with taken(state, pool, new_database=new_database), told_of(config):
            _run(state, pool, settings, http, plain, accepts=accepts)
    except (BadSettings, DatabaseUnsupported, PublishedError, SQLAlchemyError, OSError) as error:
        log.error("evsd can't run", reason=str(error))
        sys.exit(1)


def _run(
    state: StateDirectory,
    pool: Path,
    settings: FileSettings,
    http: str | None,
    plain: bool,
    *,
    accepts: bool,
) -> None:
    owners = frozenset({0, os.getuid()})
    hsm = settings.hsm.access() if settings.hsm else None
    # Both before root is given up: the port may be below 1024, the key root's alone.
    tls = server_context(settings.tls)
    listeners = [_tcp_listener(http, anywhere=tls is not None or plain)] if http else []
    privileges.drop(state, pool, settings.user)
    harden("evsd")
    if hsm is not None:
        refuse_unreadable(hsm)
    with contextlib.ExitStack() as stack:
        load_records()
        url = url_of(state.database)
        database = stack.enter_context(contextlib.closing(Database(url)))
        # Before anything else is made: on a full filesystem it has room for all that is.
        database.migrate()
        listeners.append(stack.enter_context(listen_unix(state.http_socket)))
        _look_at_age(database, accepts=accepts)
        paths = KeyProcessPaths(
            program=KEY_PROGRAM,
            database_url=url,
            token_dir=state.token,
            audit_log=state.audit_log,
            release_socket=state.release_socket,
            hsm=hsm,
            audit_segment=settings.audit.segment_bytes,
        )
        parts: list[Service] = []
        keys = KeyProcess(paths, lambda ask: _prepare(parts, ask))
        host = _host(state, pool, settings, owners, database, keys)
        parts += [module.build(host) for module in modules("service")]
        stack.enter_context(keys).start()
        stack.enter_context(host.servers).start()
        for part in parts:
            stack.enter_context(part)
        stack.enter_context(host.jobs)  # which end before what they work with
        for part in parts:
            part.start()
        stack.enter_context(host.space).start()
        app = build_app(modules("routes"), host, parts, _gatekeeper(parts))
        trouble = await_keys(keys)
        for part in parts:
            part.warn()
        with _signals_are_uvicorns():
            Server(app, tls, lambda: tell_ready(listeners, tls, trouble)).run(listeners)
    log.info("evsd stopped")


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


def _tcp_listener(http: str, *, anywhere: bool) -> socket.socket:
    try:
        if not 0 <= int(http.rpartition(":")[2]) <= 65535:
            raise ValueError("a port is from 0 to 65535")
        listener = listen_tcp(http)
    except (OSError, ValueError) as error:
        raise BadOption(f"--http {http}: {error}") from error
    if not anywhere and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        raise BadOption(
            f"--http {http}: plain HTTP is for loopback addresses only: set certificate and key "
            "under [tls], or say --allow-plain-http"
        )
    return listener


@contextlib.contextmanager
def _signals_are_uvicorns() -> Iterator[None]:
    """Uvicorn stops on these signals, then raises them again: by then they must not kill."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    yield
