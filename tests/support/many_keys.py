"""An evsd whose project has many keys, made without asking it for each."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.daemon import Evsd

# In a process of its own: a PKCS#11 module is loaded once per process, with one configuration.
GENERATE = """
import json, sys
from pathlib import Path
from pkcs11 import Attribute, KeyType, MechanismFlag
from evsd.key_process.token import softhsm
from evsd.key_process.token.token import Token

token = Token(softhsm.prepare(Path(sys.argv[1]), may_initialise=False))
token.open()
for label in json.load(sys.stdin):
    # As Token.generate does it, less the flush to disk.
    token._session.generate_key(
        KeyType.AES, 256, label=label, store=True,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False})
token.close()
"""


def add_keys(evsd: Evsd, count: int) -> list[str]:
    """Give a stopped evsd so many keys more; returns their ids."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    subprocess.run(
        [sys.executable, "-c", GENERATE, evsd.state / "token"],
        input=json.dumps([f"cmk/{key_id}/1" for key_id in ids]),
        text=True,
        check=True,
    )
    owner = (evsd.state / "token").stat()  # evsd may be another user than the tests
    for path in (evsd.state / "token").rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid)
    with sqlite3.connect(evsd.state / "evsd.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(keys)")]
        pattern = list(database.execute("SELECT * FROM keys LIMIT 1").fetchone())
        rows = []
        for key_id in ids:
            row = dict(zip(columns, pattern, strict=True))
            rows.append(list({**row, "id": key_id, "alias": f"many-{key_id}"}.values()))
        marks = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO keys VALUES ({marks})", rows)  # noqa: S608
    database.close()
    return ids


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds at best, which other work on the machine disturbs least; of data keys, the first
    one under each of some keys.
    """

    list_page: float
    describe: float
    create_datakey: float


def measure(evsd: Evsd, ids: list[str], rounds: int = 25) -> Times:
    """How long the three operations take, each under another key every time."""
    base = f"/v1.0/{evsd.project_id()}/kms"
    chosen = ids[:: max(1, len(ids) // rounds)]
    with evsd.http() as http:

        def ask(operation: str, **body: str) -> None:
            assert http.post(f"{base}/{operation}", json=body).status_code == 200

        ask("create-datakey", key_id=ids[-1])  # connections, imports
        return Times(
            _best(chosen, lambda _: ask("list-keys", limit="10")),
            _best(chosen, lambda key: ask("describe-key", key_id=key)),
            _best(chosen, lambda key: ask("create-datakey", key_id=key)),
        )


def _best(keys: list[str], ask: Callable[[str], None]) -> float:
    times = []
    for key in keys:
        started = time.perf_counter()
        ask(key)
        times.append(time.perf_counter() - started)
    return min(times)


def start_time(evsd: Evsd, key_id: str) -> tuple[float, float]:
    """Seconds from the start until it is ready, and until it has used a key."""
    started = time.perf_counter()
    evsd.start()
    ready = time.perf_counter() - started
    with evsd.http() as http:
        path = f"/v1.0/{evsd.project_id()}/kms/create-datakey"
        assert http.post(path, json={"key_id": key_id}).status_code == 200
    return ready, time.perf_counter() - started
