"""evsd-keys: the one process that opens the token and sees data keys in clear.

evsd starts it with one end of a socket pair, the control channel: JSON lines
``{"id", "operation", "call", "params"}``, answered ``{"id", "result"}`` or ``{"id", "error"}``.
When that channel closes, evsd is gone and this process ends: it never outlives its parent.
Servers of volumes reach it on the release socket (`release`). It has no network.

All work is done on the event loop's own thread, because the token may be used from one thread
only (`token`); a request takes microseconds to a few milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import structlog

from evsd.audit.log import AuditLog
from evsd.errors import Internal, PublishedError
from evsd.kms import softhsm
from evsd.kms.access_keys import AccessKeyService
from evsd.kms.call import Call
from evsd.kms.release import REQUEST_LIMIT, KeyRelease
from evsd.kms.service import KeyService, Operation, has_keys
from evsd.kms.token import SENTINEL, Token
from evsd.kms.usage import UsageLog
from evsd.logs import configure_logging
from evsd.processes import harden, lock_memory
from evsd.store.database import Database

LINE_LIMIT = 1024 * 1024
RELEASE_TIMEOUT_S = 10

Operations = dict[str, Operation]

log = structlog.get_logger()


def main() -> None:
    """Entry point: ``python -m evsd.kms.process``, started by evsd alone."""
    options = _options()
    configure_logging()
    harden("evsd-keys")
    try:
        lock_memory()
    except OSError as error:
        log.warning("key memory may be swapped", reason=str(error))
    database = Database(options.database)
    audit = AuditLog(options.audit_log)
    settings = softhsm.prepare(options.token_dir, may_initialise=not has_keys(database))
    with Token(settings) as token:
        token.key(SENTINEL)
        usage = UsageLog(audit)
        keys = KeyService(database, token, usage)
        access_keys = AccessKeyService(database, token, usage)
        operations = {**keys.operations, **access_keys.operations}
        release = KeyRelease(database, keys, usage)
        asyncio.run(_serve(operations, release, options))
    audit.close()
    database.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evsd-keys")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--token-dir", type=Path, required=True)
    parser.add_argument("--audit-log", type=Path, required=True)
    parser.add_argument("--release-socket", type=Path, required=True)
    return parser.parse_args()


async def _serve(operations: Operations, release: KeyRelease, options: argparse.Namespace) -> None:
    # Both reach the whole process group now and then: evsd decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=options.control_fd)
    reader, writer = await asyncio.open_connection(sock=control, limit=LINE_LIMIT)
    options.release_socket.unlink(missing_ok=True)
    os.umask(0o077)
    server = await asyncio.start_unix_server(
        lambda r, w: _release(release, r, w), options.release_socket, limit=REQUEST_LIMIT
    )
    async with server:
        writer.write(b'{"ready":true}\n')
        while line := await reader.readline():
            writer.write(json.dumps(_carry_out(operations, line)).encode() + b"\n")
            await writer.drain()


def _carry_out(operations: Operations, line: bytes) -> dict[str, Any]:
    request = json.loads(line)
    try:
        operation = operations[request["operation"]]
        result = operation(Call(**request["call"]), **request["params"])
        return {"id": request["id"], "result": result}
    except PublishedError as error:
        return {"id": request["id"], "error": error.as_wire()}
    except Exception:
        request_id = request["call"]["request_id"]
        log.exception("operation failed", operation=request["operation"], request_id=request_id)
        return {"id": request["id"], "error": Internal(request_id=request_id).as_wire()}


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
