"""evsd's entry: starts all parts in order, serves, and ends them in the opposite order."""

from __future__ import annotations

import contextlib
import fcntl
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
from evsd.api.authentication import Authenticator
from evsd.api.routes import Services
from evsd.api.server import Server, listen_tcp, listen_unix
from evsd.attach.service import AttachmentService
from evsd.daemon import privileges
from evsd.daemon.settings import FOREIGN_FILES, BadSettings, FileSettings, StateDirectory, read_file
from evsd.errors import PublishedError
from evsd.iam.principals import UnixUsers
from evsd.iam.service import IdentityService
from evsd.kms.client import KeyProcess, KeyProcessPaths
from evsd.logs import configure_logging
from evsd.pools.file import FilePool
from evsd.processes import harden
from evsd.store.database import Database
from evsd.volumes.service import VolumeService

log = structlog.get_logger()


@click.command()
@click.option(
    "--state-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where evsd keeps its token, database, pool and sockets; made at the first start.",
)
@click.option("--http", metavar="HOST:PORT", help="Serve the API on TCP too, on loopback only.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with more settings: region, pool, user, [unix_users].",
)
@click.version_option(evsd.__version__, prog_name="evsd")
def main(state_dir: Path, http: str | None, config: Path | None) -> None:
    """Serve encrypted block volumes.

    Runs in the foreground until SIGTERM.

    Ready when STATE_DIR/evsd.sock accepts. Attached volumes stay attached when evsd stops.
    """
    configure_logging()
    try:
        _run(StateDirectory(state_dir), read_file(config), http)
    except (BadSettings, PublishedError, SQLAlchemyError, OSError) as error:
        log.error("evsd can't run", reason=str(error))
        sys.exit(1)


def _run(state: StateDirectory, settings: FileSettings, http: str | None) -> None:
    owners = frozenset({0, os.getuid()})
    pool = settings.pool or state.pool
    _take_directories(state, pool)
    if not state.database.exists() and (state.token / "pin").exists():
        raise BadSettings(f"{state.database} is gone, but not its keys: restore it from a backup")
    listeners = [_loopback(http)] if http else []  # bound before root is given up
    privileges.shed(state, pool, settings.user)
    harden("evsd")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(state.lock))
        listeners.append(stack.enter_context(listen_unix(state.http_socket)))
        url = f"sqlite:///{state.database}"
        database = stack.enter_context(contextlib.closing(Database(url)))
        database.migrate()
        identity = IdentityService(database, settings.region)
        users = UnixUsers(identity.ensure_default_domain(), owners, settings.unix_users)
        paths = KeyProcessPaths(url, state.token, state.audit_log, state.release_socket)
        keys = stack.enter_context(KeyProcess(paths))
        keys.start()
        files = FilePool(pool)
        volumes = VolumeService(database, keys, files)
        volumes.recover()
        attachments = AttachmentService(database, keys, files, state.servers)
        stack.enter_context(attachments)
        attachments.start()
        services = Services(keys, identity, volumes, attachments, settings.region)
        app = build_app(services, Authenticator(users, keys))
        with _signals_are_uvicorns():
            Server(app, lambda: _ready(listeners)).run(listeners)
    log.info("evsd stopped")


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


def _loopback(http: str) -> socket.socket:
    try:
        if not 0 <= int(http.rpartition(":")[2]) <= 65535:
            raise ValueError("a port is from 0 to 65535")
        listener = listen_tcp(http)
    except (OSError, ValueError) as error:
        raise BadSettings(f"--http {http}: {error}") from error
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        raise BadSettings(f"--http {http}: plain HTTP is for loopback addresses only")
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


def _ready(listeners: list[socket.socket]) -> None:
    """Tell the log, and systemd (sd_notify(3): a datagram to $NOTIFY_SOCKET)."""
    log.info("evsd ready", version=evsd.__version__, http=_url(listeners[0]))
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))


def _url(listener: socket.socket) -> str | None:
    if listener.family == socket.AF_UNIX:
        return None
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


if __name__ == "__main__":
    main()
