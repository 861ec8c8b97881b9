"""evsd-keys: the one process that opens the token and sees data keys in clear.

evsd starts it with an end of each of two socket pairs, one for its threads and one for its event
loop. It loads all it needs, and begins when a byte comes on the first, the control channel. Then it
takes JSON lines ``{"id", "operation", "call", "params"}``, answered ``{"id", "result"}`` or
``{"id", "error"}``. When the control channel closes, evsd is gone and this process ends: it never
outlives its parent.
Servers of volumes reach it on the release socket (`release`). It has no network. It logs to evsd's
log by a descriptor of its own: standard output and error are the PKCS#11 module's
(`module_output`).

All work is done on the event loop's own thread, because the token may be used from one thread
only (`token`); a request takes microseconds to a few milliseconds. Another waits for the disk the
audit log is on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from evsd.audit.log import AuditLog
from evsd.audit.mark import keep_mark, read_mark
from evsd.errors import KeysUnavailable
from evsd.key_channel.call import Call
from evsd.key_channel.operation import operations_of
from evsd.key_channel.shared import Probe
from evsd.key_process.audit_signing import AuditSigning
from evsd.key_process.requests import Operations, Requests
from evsd.key_process.service_part import REQUEST_LIMIT, KeyPart, Parts, Release, Round
from evsd.key_process.token import softhsm
from evsd.key_process.token.token import Token, TokenSettings
from evsd.key_process.use_records import UsageLog
from evsd.logs import configure_logging
from evsd.processes import harden, lock_memory
from evsd.services import load_records, modules
from evsd.services.kms.key_process.token_check import TokenCheck, keys_known
from evsd.store.database import Database

RELEASE_TIMEOUT_S = 10
PERIOD_S = 60  # between two rounds of maintenance

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Work:
    """What the process has to do."""

    operations: Operations
    parts: list[KeyPart]
    audit: AuditLog
    usage: UsageLog


def main() -> None:
    """Entry point: ``python -m evsd.daemon.key_process``, started by evsd alone."""
    options = _options()
    # Not on standard error: what a module writes there is no line of the log.
    configure_logging(os.fdopen(options.log_fd, "w", buffering=1))
    harden("evsd-keys")
    try:
        lock_memory()
    except OSError as error:
        log.warning("key memory may be swapped", reason=str(error))
    control, loop = (socket.socket(fileno=fd) for fd in (options.control_fd, options.loop_fd))
    _load()
    if not control.recv(1):
        return  # evsd has ended before it could say that there is a database
    with contextlib.ExitStack() as stack:
        try:
            work = _build(options, stack)
        except (KeysUnavailable, OSError) as error:
            reason = error.message if isinstance(error, KeysUnavailable) else str(error)
            control.sendall(json.dumps({"ready": False, "reason": reason}).encode() + b"\n")
            sys.exit(1)
        asyncio.run(_serve(control, loop, work, options.release_socket))


def _load() -> None:
    """All that can be done without touching anything, while evsd gets ready to be asked."""
    load_records()
    modules("consumer")
    modules("key_process")
    configure_mappers()


def _build(options: argparse.Namespace, stack: contextlib.ExitStack) -> _Work:
    database = stack.enter_context(contextlib.closing(Database(options.database)))
    token = stack.enter_context(Token(_token_settings(options, database), TokenCheck(database)))
    signing = AuditSigning(token)
    audit = stack.enter_context(
        AuditLog(options.audit_log, options.audit_segment, signing.key, read_mark(database))
    )
    keep_mark(database, audit)
    stack.callback(_write_mark, database)
    if audit.head.sequence == 0 and keys_known(database):
        audit.note_damage("the whole log is missing, for there are keys")
    usage = UsageLog(audit)
    if database.restored:
        with usage.used(Call("service:kms", "", "", "evsd-keys", ""), "start-on-restored-database"):
            pass
    consumers = {module.CONSUMER.service: module.CONSUMER for module in modules("consumer")}
    shared = Parts(database, token, usage, consumers)
    parts: list[KeyPart] = [module.build(shared) for module in modules("key_process")]
    return _Work(_operations(shared, signing, parts), parts, audit, usage)


def _operations(shared: Parts, signing: AuditSigning, parts: list[KeyPart]) -> Operations:
    of_services = (each for part in parts for each in part.operations)
    return operations_of(*of_services, signing, TokenWatch(shared.token), shared.usage)


def _write_mark(database: Database) -> None:
    """At the end of the process nothing is recorded that the mark does not know."""
    with contextlib.suppress(SQLAlchemyError), database.transaction():
        pass


def _token_settings(options: argparse.Namespace, database: Database) -> TokenSettings:
    if options.module is None:
        return softhsm.prepare(options.token_dir, may_initialise=not keys_known(database))
    return TokenSettings(
        options.module, options.token_label, options.pin_file, slot=options.token_slot
    )


class TokenWatch:
    """Finds out, when evsd asks, whether the token is there, and logs when that has changed."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._trouble = ""
        self._profile = ""

    @Probe.handler
    def probe(self, _call: Call, _request: Probe) -> str:
        """Open the token if it isn't; that it is away is no error here."""
        try:
            self._token.probe()
        except KeysUnavailable as error:
            trouble = error.message
        else:
            trouble = ""
        if trouble and trouble != self._trouble:
            log.error("the token can't be used", reason=trouble)
        elif self._trouble and not trouble:
            log.info("the token can be used again")
        self._trouble = trouble
        if not trouble and self._profile != self._token.ability.profile:
            self._profile = self._token.ability.profile
            log.info("new keys get the token's best profile", profile=self._profile)
        return trouble


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evsd-keys")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--loop-fd", type=int, required=True)
    parser.add_argument("--log-fd", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--token-dir", type=Path, required=True)  # of the embedded token
    parser.add_argument("--module", type=Path)
    parser.add_argument("--token-label")
    parser.add_argument("--token-slot", type=int)
    parser.add_argument("--pin-file", type=Path)
    parser.add_argument("--audit-log", type=Path, required=True)
    parser.add_argument("--audit-segment", type=int, required=True)
    parser.add_argument("--release-socket", type=Path, required=True)
    return parser.parse_args()


async def _serve(
    control: socket.socket, loop: socket.socket, work: _Work, release_socket: Path
) -> None:
    # Both reach the whole process group now and then: evsd decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests = Requests(work.operations, work.audit, work.usage)
    release = next(part.release for part in work.parts if part.release is not None)
    release_socket.unlink(missing_ok=True)
    os.umask(0o077)
    server = await asyncio.start_unix_server(
        lambda r, w: _release(release, r, w), release_socket, limit=REQUEST_LIMIT
    )
    async with server, asyncio.TaskGroup() as tasks:
        rounds = [each for part in work.parts for each in part.maintenance]
        others = [tasks.create_task(each) for each in (_maintain(rounds), requests.serve(loop))]
        control.sendall(b'{"ready":true}\n')
        await requests.serve(control)
        for other in others:
            other.cancel()


async def _maintain(rounds: list[Round]) -> None:
    while True:
        for each in rounds:
            try:
                async for _ in each():
                    await asyncio.sleep(0)  # requests come first, however much is due
            except Exception:
                log.exception("maintenance failed")
        await asyncio.sleep(PERIOD_S)


async def _release(
    release: Release, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(RELEASE_TIMEOUT_S):
            line = await reader.readline()
            writer.write(release(line, _peer_pid(writer)))
            await writer.drain()
    except (TimeoutError, ValueError, OSError) as error:
        log.warning("key request dropped", reason=str(error) or type(error).__name__)
    finally:
        writer.close()


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    pid: int = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid
