"""evsd's entry: settings, privileges and sockets; then evsd-keys, and beside it all other parts.

What is imported here is loaded before evsd-keys is started, so it is as little as can be.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

import click
import structlog

import evsd
from evsd.api.listeners import listen_tcp
from evsd.daemon import privileges
from evsd.daemon.loading import uncollected
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
from evsd.key_client.process import KeyProcess, KeyProcessPaths
from evsd.logs import configure_logging
from evsd.processes import harden
from evsd.store.url import DatabaseUnsupported, url_of

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
    help="TOML file with more settings: region, availability_zone, pool, user, [hsm], [audit], "
    "[attach], [space], [unix_users], [database], [tls].",
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
    except _failures() as error:
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
    url = url_of(state.database)
    paths = KeyProcessPaths(
        program=KEY_PROGRAM,
        database_url=url,
        token_dir=state.token,
        audit_log=state.audit_log,
        release_socket=state.release_socket,
        hsm=hsm,
        audit_segment=settings.audit.segment_bytes,
    )
    with KeyProcess(paths) as keys:
        keys.load()  # which takes as long as all that follows, and needs none of it
        with uncollected():
            from evsd.daemon.assembly import serve
        serve(state, pool, settings, owners, keys, listeners, tls, accepts=accepts)
    log.info("evsd stopped")


def _failures() -> tuple[type[Exception], ...]:
    """What evsd can't run for; the database's own are loaded when something has failed."""
    from sqlalchemy.exc import SQLAlchemyError

    return (BadSettings, DatabaseUnsupported, PublishedError, SQLAlchemyError, OSError)


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
