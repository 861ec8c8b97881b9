"""evsd's entry: starts all parts in order, serves, and ends them in the opposite order."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import structlog
from sqlalchemy.exc import SQLAlchemyError

import evsd
from evsd.api.app import build_app
from evsd.api.authentication import Authenticator
from evsd.api.failures import FailedAuthentications
from evsd.api.routes import Services
from evsd.api.server import Server, listen_tcp, listen_unix
from evsd.attach.service import AttachmentService
from evsd.daemon import privileges
from evsd.daemon.settings import FOREIGN_FILES, BadSettings, FileSettings, StateDirectory, read_file
from evsd.daemon.tls import server_context
from evsd.errors import PublishedError
from evsd.iam.service import IdentityService
from evsd.iam.users import follow_settings
from evsd.kms.call import Call
from evsd.kms.client import Ask, KeyProcess, KeyProcessPaths
from evsd.logs import configure_logging
from evsd.pools.file import FilePool
from evsd.processes import harden
from evsd.store.database import Database
from evsd.volumes.headers import VolumeHeaders
from evsd.volumes.recovery import VolumeRecovery
from evsd.volumes.service import VolumeService

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
    help="TOML file with more settings: region, pool, user, [hsm], [audit], [attach], "
    "[unix_users], [tls].",
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
        state = StateDirectory(state_dir)
        _refuse_lost_database(state, new_database=new_database)
        accepts |= not state.database.exists()
        _run(state, read_file(config), http, plain, accepts=accepts)
    except (BadSettings, PublishedError, SQLAlchemyError, OSError) as error:
        log.error("evsd can't run", reason=str(error))
        sys.exit(1)


def _run(
    state: StateDirectory, settings: FileSettings, http: str | None, plain: bool, *, accepts: bool
) -> None:
    owners = frozenset({0, os.getuid()})
    pool = settings.pool or state.pool
    _take_directories(state, pool)
    hsm = settings.hsm.access() if settings.hsm else None
    # Both before root is given up: the port may be below 1024, the key root's alone.
    tls = server_context(settings.tls)
    listeners = [_tcp_listener(http, anywhere=tls is not None or plain)] if http else []
    privileges.shed(state, pool, settings.user)
    harden("evsd")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(state.lock))
        listeners.append(stack.enter_context(listen_unix(state.http_socket)))
        url = f"sqlite:///{state.database}"
        database = stack.enter_context(contextlib.closing(Database(url)))
        database.migrate()
        _look_at_age(database, accepts=accepts)
        identity = IdentityService(database, settings.region, owners, settings.mapped_users)
        identity.prepare()
        paths = KeyProcessPaths(
            database_url=url,
            token_dir=state.token,
            audit_log=state.audit_log,
            release_socket=state.release_socket,
            hsm=hsm,
            audit_segment=settings.audit.segment_bytes,
        )
        keys = stack.enter_context(KeyProcess(paths, lambda ask: _follow_settings(identity, ask)))
        keys.start()
        files = FilePool(pool)
        group = settings.attach.gid
        attachments = AttachmentService(database, keys, files, state.servers, group)
        stack.enter_context(attachments)
        attachments.start()  # first: it ends what the last run served to itself
        volumes = VolumeService(database, keys, files, attachments.own_use, attachments.end_own_use)
        stack.enter_context(volumes)
        volumes.recover()
        recovery = VolumeRecovery(database, keys, files)
        services = Services(
            keys,
            identity,
            volumes,
            recovery,
            VolumeHeaders(database, keys, files),
            attachments,
            identity.region,
            database,
        )
        failures = stack.enter_context(FailedAuthentications(keys))
        app = build_app(services, Authenticator(identity.directory, keys, failures))
        with _signals_are_uvicorns():
            Server(app, tls, lambda: _ready(listeners, tls)).run(listeners)
    log.info("evsd stopped")


def _follow_settings(identity: IdentityService, ask: Ask) -> None:
    """Have the Unix users that the settings have gained or lost made or disabled, on record."""
    if not identity.follows_settings():
        call = Call("evsd", identity.default_domain_id, "", "settings", "start")
        change = {"change": follow_settings.__name__, "named": {"users": identity.unix_users}}
        ask("change_identity", call, change)
    identity.directory.forget()  # the process before may have died between a change and its answer


def _refuse_lost_database(state: StateDirectory, *, new_database: bool) -> None:
    """An empty database beside a token with keys must be somebody's decision."""
    if not (new_database or state.database.exists()) and (state.token / "pin").exists():
        raise BadSettings(
            f"{state.database} is gone, but not its keys: restore it from a backup; if there is "
            "none, --new-database starts with an empty one, for `evsctl recover`"
        )


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


def _take_directories(state: StateDirectory, pool: Path) -> None:
    """Make what is missing; take over only what is evsd's own, or empty.

    A mistyped --state-dir must not change the modes and owners of somebody's files.
    """
    os.umask(0o077)
    if state.path.exists() and not state.lock.exists():
        there = list(state.path.iterdir())
        if len(there) > FOREIGN_FILES or any(path.is_dir() for path in there):
            raise BadSettings(f"{state.path} is not empty and was not made by evsd")
    # Others may pass through to the sockets, whose own modes and peer checks decide.
    for directory, mode in ((state.path, 0o711), (state.servers, 0o711), (pool, 0o700)):
        fresh = not state.lock.exists() and (directory != pool or _is_empty(pool))
        directory.mkdir(parents=True, exist_ok=True)
        if fresh:
            directory.chmod(mode)
    state.lock.touch()


def _is_empty(directory: Path) -> bool:
    return not directory.exists() or not any(directory.iterdir())


def _tcp_listener(http: str, *, anywhere: bool) -> socket.socket:
    try:
        if not 0 <= int(http.rpartition(":")[2]) <= 65535:
            raise ValueError("a port is from 0 to 65535")
        listener = listen_tcp(http)
    except (OSError, ValueError) as error:
        raise BadSettings(f"--http {http}: {error}") from error
    if not anywhere and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        raise BadSettings(
            f"--http {http}: plain HTTP is for loopback addresses only: set certificate and key "
            "under [tls], or say --allow-plain-http"
        )
    return listener


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Two evsd on one state directory would fight over its token and its servers."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadSettings(f"another evsd runs on {lock.parent}") from error
        yield


@contextlib.contextmanager
def _signals_are_uvicorns() -> Iterator[None]:
    """Uvicorn stops on these signals, then raises them again: by then they must not kill."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    yield


def _ready(listeners: list[socket.socket], tls: ssl.SSLContext | None) -> None:
    """Tell the log, and systemd (sd_notify(3): a datagram to $NOTIFY_SOCKET)."""
    log.info("evsd ready", version=evsd.__version__, http=_url(listeners[0], tls))
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))


def _url(listener: socket.socket, tls: ssl.SSLContext | None) -> str | None:
    if listener.family == socket.AF_UNIX:
        return None
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


if __name__ == "__main__":
    main()
