"""The cloud's SDK for Node.js, from npm: one request by it, as it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.daemon import Object

ROOT = Path(__file__).parents[2]


class Node:
    """Requests of one access key; what the SDK's package lacks is installed beside it."""

    def __init__(self, endpoint: str, pair: dict[str, str]) -> None:
        subprocess.run([ROOT / "tools" / "node_packages"], check=True)
        self._command = ["node", str(ROOT / "tests" / "node" / "request.js"), endpoint]
        self._command += [pair["access"], pair["secret"]]

    def __call__(self, method: str, url: str, **request: Any) -> Object:
        """What the SDK makes of the answer, with its `httpStatusCode`."""
        done = subprocess.run(
            [*self._command, json.dumps({"method": method, "url": url, **request})],
            env={
                "PATH": os.environ["PATH"],
                "NODE_PATH": str(ROOT / ".cache" / "node" / "node_modules"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        answer: Object = json.loads(done.stdout.splitlines()[-1])  # below what the SDK logs
        return answer

    def status(self, method: str, url: str, **request: Any) -> int:
        """The status of the answer."""
        return int(self(method, url, **request)["httpStatusCode"])
