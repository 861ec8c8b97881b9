"""OpenStack Barbican as a peer: the other key manager that one installs by oneself.

It stores secrets, encrypted in software under a key of the project, in SQLite: `create-datakey` is
a secret of 64 bytes stored, `decrypt-datakey` its payload read. Keystone, which would say who asks,
is left out: it believes the headers that Keystone's middleware would write. It has one process:
with two of them on one SQLite file requests fail (500).
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.daemon import until

PROGRAMS = Path(__file__).parent.parent / ".cache" / "barbican" / "bin"
CONFIGURATION = """
[DEFAULT]
host_href = {url}
db_auto_create = True
[database]
connection = sqlite:///{directory}/barbican.db
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = {kek}
"""
PIPELINE = """
[composite:main]
use = egg:Paste#urlmap
/v1: barbican_api
[pipeline:barbican_api]
pipeline = request_id context microversion apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory
[filter:request_id]
paste.filter_factory = oslo_middleware.request_id:RequestId.factory
"""
APPLICATION = """
from paste import deploy
application = deploy.loadapp("config:{directory}/paste.ini")
"""
HEADERS = {
    "X-Identity-Status": "Confirmed",
    "X-Project-Id": "bench",
    "X-User-Id": "bench",
    "X-Roles": "member,creator,reader",
}
SECRET = {
    "payload": base64.b64encode(bytes(64)).decode(),
    "payload_content_type": "application/octet-stream",
    "payload_content_encoding": "base64",
}


@contextmanager
def running(port: int) -> Iterator[dict[str, tuple[str, str, dict[str, str], dict[str, str]]]]:
    """A server, and what to ask it: method, path, headers and body, by operation."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home)
        (directory / ".barbican").mkdir()
        kek = base64.urlsafe_b64encode(os.urandom(32)).decode()
        (directory / ".barbican" / "barbican.conf").write_text(
            CONFIGURATION.format(url=url, directory=home, kek=kek)
        )
        (directory / "paste.ini").write_text(PIPELINE)
        (directory / "peer.py").write_text(APPLICATION.format(directory=home))
        words = ["--bind", f"127.0.0.1:{port}", "--workers", "1"]
        server = subprocess.Popen(
            [PROGRAMS / "gunicorn", *words, "--chdir", home, "peer:application"],
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: _stored(url) != "", 60)
            read = {**HEADERS, "Accept": "application/octet-stream"}
            path = _stored(url).removeprefix(url)
            yield {
                "create-datakey": ("POST", "/v1/secrets", HEADERS, SECRET),
                "decrypt-datakey": ("GET", f"{path}/payload", read, {}),
            }
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)


def _stored(url: str) -> str:
    try:
        answer = httpx.post(f"{url}/v1/secrets", headers=HEADERS, json=SECRET)
    except httpx.TransportError:
        return ""
    return str(answer.json()["secret_ref"])
