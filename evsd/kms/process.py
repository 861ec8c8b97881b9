"""evsd-keys: the one process that opens the token and sees data keys in clear.

evsd starts it with an end of each of two socket pairs, one for its threads and one for its event
loop: JSON lines ``{"id", "operation", "call", "params"}``, answered ``{"id", "result"}`` or
``{"id", "error"}``. When the first, the control channel, closes, evsd is gone and this process
ends: it never outlives its parent.
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

from evsd.audit.log import AuditLog
from evsd.audit.mark import keep_mark, read_mark
from evsd.errors import KmsUnavailable
from evsd.kms import softhsm
from evsd.kms.access_keys import AccessKeyService
from evsd.kms.audit_signing import AuditSigning
from evsd.kms.call import Call, Result, operation, operations_of
from evsd.kms.datakeys import DataKeys
from evsd.kms.grants import Grants
from evsd.kms.identity import IdentityChanges
from evsd.kms.imports import KeyImport
from evsd.kms.keystore import KeyStore
from evsd.kms.lifecycle import KeyLife
from evsd.kms.recovery import KeyRecovery
from evsd.kms.release import REQUEST_LIMIT, KeyRelease
from evsd.kms.requests import Operations, Requests
from evsd.kms.rotation import Rotation
from evsd.kms.sentinel import TokenCheck, keys_known
from evsd.kms.tags import KeyTags
from evsd.kms.token import Token, TokenSettings
from evsd.kms.upkeep import PERIOD_S, Upkeep
from evsd.kms.usage import UsageLog
from evsd.kms.volumekeys import VolumeKeys
from evsd.logs import configure_logging
from evsd.processes import harden, lock_memory
from evsd.store.database import Database

RELEASE_TIMEOUT_S = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the process serves with."""

    operations: Operations
    release: KeyRelease
    upkeep: Upkeep
    audit: AuditLog
    usage: UsageLog


def main() -> None:
    """Entry point: ``python -m evsd.kms.process``, started by evsd alone."""
    options = _options()
    # Not on standard error: what a module writes there is no line of the log.
    configure_logging(os.fdopen(options.log_fd, "w", buffering=1))
    harden("evsd-keys")
    try:
        lock_memory()
    except OSError as error:
        log.warning("key memory may be swapped", reason=str(error))
    control, loop = (socket.socket(fileno=fd) for fd in (options.control_fd, options.loop_fd))
    with contextlib.ExitStack() as stack:
        try:
            parts = _build(options, stack)
        except (KmsUnavailable, OSError) as error:
            reason = error.message if isinstance(error, KmsUnavailable) else str(error)
            control.sendall(json.dumps({"ready": False, "reason": reason}).encode() + b"\n")
            sys.exit(1)
        asyncio.run(_serve(control, loop, parts, options.release_socket))


def _build(options: argparse.Namespace, stack: contextlib.ExitStack) -> _Parts:
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
    keys = KeyStore(database, token, usage)
    life, rotation = KeyLife(keys), Rotation(keys)
    volume_keys = VolumeKeys(keys, life)
    operations = operations_of(
        life,
        rotation,
        volume_keys,
        DataKeys(keys),
        Grants(keys),
        KeyImport(keys),
        KeyTags(keys),
        KeyRecovery(keys),
        AccessKeyService(database, token, usage),
        IdentityChanges(database, usage),
        signing,
        TokenWatch(token),
        usage,
    )
    release = KeyRelease(database, volume_keys, usage)
    return _Parts(operations, release, Upkeep(keys, rotation), audit, usage)


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

    @operation
    def probe(self, _call: Call) -> Result:
        """Open the token if it isn't; that it is away is no error here."""
        try:
            self._token.probe()
        except KmsUnavailable as error:
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
        return {"trouble": trouble}


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
    control: socket.socket, loop: socket.socket, parts: _Parts, release_socket: Path
) -> None:
    # Both reach the whole process group now and then: evsd decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests = Requests(parts.operations, parts.audit, parts.usage)
    release_socket.unlink(missing_ok=True)
    os.umask(0o077)
    server = await asyncio.start_unix_server(
        lambda r, w: _release(parts.release, r, w), release_socket, limit=REQUEST_LIMIT
    )
    async with server, asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(_tend(parts.upkeep)), tasks.create_task(requests.serve(loop))]
        control.sendall(b'{"ready":true}\n')
        await requests.serve(control)
        for other in others:
            other.cancel()


async def _tend(upkeep: Upkeep) -> None:
    while True:
        try:
            async for _ in upkeep.round():
                await asyncio.sleep(0)  # requests come first, however much is due
        except Exception:
            log.exception("upkeep failed")
        await asyncio.sleep(PERIOD_S)


async def _release(
    release: KeyRelease, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(RELEASE_TIMEOUT_S):
            line = await reader.readline()
            writer.write(release.answer(line, _peer_pid(writer)))
            await writer.drain()
    except (TimeoutError, ValueError, OSError) as error:
        log.warning("key request dropped", reason=str(error) or type(error).__name__)
    finally:
        writer.close()


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    pid: int = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


if __name__ == "__main__":
    main()
