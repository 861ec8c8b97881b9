"""TLS on TCP: 1.2 and up, with a certificate that only root can read the key of."""

from __future__ import annotations

import os
import pwd
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import huaweicloudsdkiam.v3 as iam
import pytest
from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ConnectionException
from huaweicloudsdkcore.http.http_config import HttpConfig

from tests.support import tls
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state
from tests.support.tls import Certificates


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with temporary_state() as directory:
        made = tls.make(directory)
        os.chown(made.key, pwd.getpwnam("games").pw_uid, -1)
        yield made


def settings(directory: Path, certificates: Certificates) -> str:
    file = directory / "evsd.toml"
    file.write_text(
        f'[tls]\ncertificate = "{certificates.certificate}"\nkey = "{certificates.key}"\n'
    )
    return str(file)


@pytest.fixture(scope="module")
def server(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evsd]:
    config = settings(tmp_path_factory.mktemp("settings"), certificates)
    with running_evsd("--http", "127.0.0.1:0", "--config", config) as running:
        yield running


@pytest.fixture(scope="module")
def pair(server: Evsd) -> dict[str, str]:
    made: dict[str, str] = server.object("access-key", "create")["credential"]
    return made


def address(server: Evsd) -> tuple[str, int]:
    assert server.url().startswith("https://")
    host, port = server.url().removeprefix("https://").rsplit(":", 1)
    return host, int(port)


def test_the_sdk_is_served_over_tls(
    server: Evsd,
    certificates: Certificates,
    pair: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def client(**config: Any) -> Any:
        credentials = GlobalCredentials(pair["access"], pair["secret"], domain(server))
        builder = iam.IamClient.new_builder().with_http_config(HttpConfig(**config))
        return builder.with_credentials(credentials).with_endpoint(server.url()).build()

    request = iam.KeystoneListAuthProjectsRequest()
    trusting = client(ssl_ca_cert=str(certificates.ca))
    assert trusting.keystone_list_auth_projects(request).projects[0].name == "default"
    with pytest.raises(ConnectionException):
        client().keystone_list_auth_projects(request)


def domain(server: Evsd) -> str:
    with server.http() as http:
        return str(http.get("/v3/auth/domains").json()["domains"][0]["id"])


@pytest.mark.parametrize("variable", ["EVSD_CA", "SSL_CERT_FILE"])
def test_evsctl_is_served_over_tls(
    server: Evsd, certificates: Certificates, pair: dict[str, str], variable: str
) -> None:
    signed = {
        "EVSD_ENDPOINT": server.url(),
        "EVSD_ACCESS_KEY": pair["access"],
        "EVSD_SECRET_KEY": pair["secret"],
    }
    trusted = server.ctl("list", environment={**signed, variable: str(certificates.ca)})
    assert trusted.status == 0, trusted
    refused = server.ctl("list", environment=signed)
    assert (refused.status, "set EVSD_CA" in refused.err) == (1, True), refused
    assert f"the certificate of {server.url()} is not good" in refused.err


def test_a_ca_that_can_not_be_read_is_wrong_usage(server: Evsd, pair: dict[str, str]) -> None:
    environment = {
        "EVSD_ENDPOINT": server.url(),
        "EVSD_ACCESS_KEY": pair["access"],
        "EVSD_SECRET_KEY": pair["secret"],
        "EVSD_CA": "/nowhere.pem",
    }
    refused = server.ctl("list", environment=environment)
    assert (refused.status, "/nowhere.pem" in refused.err) == (2, True)


def old_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks this version and no other, weak ciphers and signatures included."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def handshake(where: tuple[str, int], version: ssl.TLSVersion) -> str | None:
    with (
        socket.create_connection(where, timeout=60) as plain,
        old_client(version).wrap_socket(plain) as secured,
    ):
        return secured.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_tls_1_1_client_is_refused(server: Evsd, certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(address(server), ssl.TLSVersion.TLSv1_1)
    assert handshake_with_an_old_server(certificates) == "TLSv1.1"


def handshake_with_an_old_server(certificates: Certificates) -> str | None:
    """What that client can do where the server lets it, so that it is evsd that refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_once, args=(context, listener))
        thread.start()
        try:
            return handshake(listener.getsockname(), ssl.TLSVersion.TLSv1_1)
        finally:
            thread.join()


def _serve_once(context: ssl.SSLContext, listener: socket.socket) -> None:
    plain, _ = listener.accept()
    with plain, context.wrap_socket(plain, server_side=True) as secured:
        secured.recv(1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(server: Evsd, version: ssl.TLSVersion) -> None:
    spoken = handshake(address(server), version)
    assert spoken == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_plain_http_on_the_tls_port_is_not_answered(server: Evsd) -> None:
    with socket.create_connection(address(server), timeout=60) as plain:
        plain.sendall(b"GET /v3/projects HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_the_unix_socket_stays_as_it_is(server: Evsd) -> None:
    assert server.object("list")["count"] == 0


def test_the_key_file_is_read_before_privileges_are_given_up(
    server: Evsd, certificates: Certificates
) -> None:
    """It is another user's alone: only root with all capabilities could open it."""
    file = certificates.key.stat()
    assert (file.st_uid, stat.S_IMODE(file.st_mode)) == (pwd.getpwnam("games").pw_uid, 0o600)
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status


def start(*options: str) -> subprocess.CompletedProcess[str]:
    with temporary_state() as state:
        return subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", state, *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.mark.parametrize("what", ["missing", "of another key", "nonsense", "encrypted"])
def test_a_certificate_that_can_not_be_used_is_refused_by_name(
    certificates: Certificates, tmp_path: Path, what: str
) -> None:
    key = tmp_path / "key.pem"
    if what == "of another key":
        key = tls.make(tmp_path).key
    elif what == "nonsense":
        key.write_text("nonsense")
    elif what == "encrypted":
        subprocess.run(
            f"openssl pkey -in {certificates.key} -out {key} -aes256 -passout pass:secret".split(),
            check=True,
        )
    spoiled = Certificates(certificates.ca, certificates.certificate, key)
    done = start("--http", "127.0.0.1:0", "--config", settings(tmp_path, spoiled))
    assert (done.returncode, str(key) in done.stderr) == (1, True), done


def test_an_idle_client_does_not_hold_up_the_end(
    certificates: Certificates, tmp_path: Path
) -> None:
    config = settings(tmp_path, certificates)
    with running_evsd("--http", "127.0.0.1:0", "--config", config) as evsd:
        trusting = ssl.create_default_context(cafile=str(certificates.ca))
        with httpx.Client(base_url=evsd.url(), verify=trusting, timeout=60) as idle:
            assert idle.get("/v3/projects").status_code == 401
            evsd.stop()
            assert "timeout graceful shutdown exceeded" not in evsd.log.read_text()


class InAWorldOfItsOwn(Evsd):
    """An evsd in a network without any host in it, where it may serve on every address."""

    before = ("unshare", "--net")


@pytest.mark.parametrize("protected", [True, False])
def test_beyond_loopback_it_takes_a_certificate_or_a_flag(
    certificates: Certificates, tmp_path: Path, protected: bool
) -> None:
    with_tls = ("--config", settings(tmp_path, certificates))
    options = with_tls if protected else ("--allow-plain-http",)
    with temporary_state() as state:
        evsd = InAWorldOfItsOwn(state, "--http", "0.0.0.0:0", *options)
        evsd.start()
        try:
            assert evsd.url().startswith("https://0.0.0.0:" if protected else "http://0.0.0.0:")
        finally:
            evsd.stop()
