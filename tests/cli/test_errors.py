"""What evsctl says when a command could not be carried out, to people and to scripts."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import tls
from tests.support.daemon import Evsd, Result, running_evsd, temporary_state
from tests.support.transfer import small_pool

PAIR = {"EVSD_ACCESS_KEY": "AK", "EVSD_SECRET_KEY": "SK"}


@pytest.fixture(scope="module")
def shared_evsd() -> Iterator[Evsd]:
    """One that listens on TCP too, in clear."""
    with running_evsd("--http", "127.0.0.1:0") as running:
        running.prepare()
        yield running


def told(evsd: Evsd, *words: str, **environment: str) -> dict[str, Any]:
    """The object that is the last thing an evsctl says that fails."""
    done = evsd.ctl("--output", "json", *words, environment=environment)
    assert (done.status, done.out) in ((1, ""), (2, "")), done
    found: dict[str, Any] = json.loads(done.err.splitlines()[-1])
    assert set(found) == {"code", "message", "remedy", "request_id"}
    assert done.status == (2 if found["code"] == "evsctl.usage" else 1)
    return found


def test_a_refusal_has_evsds_code_remedy_and_request_id(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "off")
    shared_evsd.ok("key", "disable", "off", "--yes")
    found = told(shared_evsd, "create", "data", "--size", "1G", "--key", "off")
    shown = shared_evsd.ctl("create", "data", "--size", "1G", "--key", "off").err
    assert shown == f"Error: {found['code']}: {found['message']}\n  {found['remedy']}\n"
    requests = [event["request_id"] for event in shared_evsd.events("request")]
    assert found["request_id"] in requests


def test_what_is_not_there_is_told_with_the_request_that_has_not_found_it(
    shared_evsd: Evsd,
) -> None:
    for words in (("show", "none"), ("key", "show", "none"), ("user", "show", "none")):
        found = told(shared_evsd, *words)
        assert found["message"].endswith("none does not exist")
        assert (found["remedy"] != "", len(found["request_id"])) == (True, 32)


@pytest.mark.parametrize(
    "words",
    [
        ("create",),
        ("no-such-command",),
        ("list", "--no-such-option"),
        ("create", "data", "--size", "much"),
        ("key", "update", "test-key"),
        ("key", "create-datakey", "test-key", "--context", "novalue"),
        ("key", "encrypt", "test-key", "/nonexistent"),
    ],
)
def test_wrong_usage_is_told(shared_evsd: Evsd, words: tuple[str, ...]) -> None:
    found = told(shared_evsd, *words)
    assert (found["code"], found["request_id"]) == ("evsctl.usage", None)
    assert found["remedy"].startswith("evsctl")
    assert found["remedy"].endswith("--help")


def test_the_option_counts_wherever_it_stands_and_in_both_spellings(shared_evsd: Evsd) -> None:
    for words in (
        ("show", "none", "--output", "json"),
        ("show", "--output=json", "none"),
        ("--output=table", "show", "none", "--output", "json"),
        ("create", "--output=json"),
    ):
        assert json.loads(shared_evsd.ctl(*words).err)["code"]
    assert shared_evsd.ctl("--output", "json", "show", "none", "--output", "table").err[0] == "E"


def test_a_host_that_lacks_something_is_told(shared_evsd: Evsd, tmp_path: Path) -> None:
    found = told(shared_evsd, "import", str(tmp_path / "none"), "data")
    assert (found["code"], found["message"]) == (
        "evsctl.failed",
        f"{tmp_path / 'none'}: No such file or directory",
    )


def test_a_tool_that_fails_is_told(shared_evsd: Evsd, tmp_path: Path) -> None:
    broken = tmp_path / "broken.qcow2"
    broken.write_bytes(b"QFI\xfb" + bytes(4092))
    assert told(shared_evsd, "import", str(broken), "data")["code"] == "evsctl.failed"


def test_an_evsd_that_is_away_is_told(shared_evsd: Evsd) -> None:
    for endpoint in ("unix:///nonexistent", "http://127.0.0.1:1"):
        found = told(shared_evsd, "list", EVSD_ENDPOINT=endpoint, **PAIR)
        assert (found["code"], endpoint in found["message"]) == ("evsctl.unreachable", True)


@pytest.mark.parametrize(
    "endpoint", ["http://[1", "http://host:port", "ftp://host", "/run/evsd.sock", "https://"]
)
def test_an_endpoint_that_is_none_is_wrong_usage(shared_evsd: Evsd, endpoint: str) -> None:
    found = told(shared_evsd, "list", EVSD_ENDPOINT=endpoint, **PAIR)
    assert found["code"] in ("evsctl.usage", "evsctl.unreachable")
    assert endpoint in found["message"]


def test_a_proxy_that_cannot_be_used_is_told(shared_evsd: Evsd) -> None:
    environment = {"EVSD_ENDPOINT": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1"}
    assert "socks" in told(shared_evsd, "list", **environment, **PAIR)["message"].lower()


def test_an_argument_that_is_no_text_is_wrong_usage(shared_evsd: Evsd) -> None:
    assert told(shared_evsd, "create", "\udcff", "--size", "1G")["code"] == "evsctl.usage"


def test_warnings_are_objects_too_before_the_error(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "used")
    shared_evsd.ok("create", "under-it", "--size", "1G", "--key", "used")
    words = ("key", "schedule-deletion", "used", "--days", "6", "--yes", "--output", "json")
    warning, error = map(json.loads, shared_evsd.ctl(*words).err.splitlines())
    assert "under-it" in warning["warning"]
    assert error["code"] == "KMS.1401"


def test_a_job_that_fails_is_told_with_its_remedy_and_the_request_that_began_it() -> None:
    with small_pool(64) as (_, config), running_evsd("--config", str(config)) as small:
        small.prepare()
        found = told(small, "create", "large", "--size", "1G", "--thick")
        [began] = [
            event["request_id"]
            for event in small.events("request")
            if event["method"] == "POST" and event["path"].endswith("/cloudvolumes")
        ]
        assert (found["code"][:4], found["remedy"] != "") == ("EVS.", True)
        assert found["request_id"] == began


# --- standard output ---------------------------------------------------------------------------


def written_to(evsd: Evsd, redirection: str, *words: str) -> Result:
    """An evsctl whose output the shell has redirected."""
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "-", evsd.evsctl, *words],
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{evsd.socket}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_reader_that_has_enough_gets_no_words(shared_evsd: Evsd) -> None:
    for words in (("list",), ("--help",), ("key", "list", "--output", "json")):
        reader, pipe = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [shared_evsd.evsctl, *words],
            env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{shared_evsd.socket}"},
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(pipe)
        assert (done.returncode, done.stderr) == (1, b"")


def test_an_output_that_takes_nothing_is_told_with_what_was_done(shared_evsd: Evsd) -> None:
    full = written_to(shared_evsd, ">/dev/full", "list")
    assert (full.status, full.err) == (
        1,
        "Error: standard output: No space left on device\n  nothing was changed\n",
    )
    done = written_to(shared_evsd, ">/dev/full", "key", "create", "unseen")
    assert (done.status, "evsd has done what was asked" in done.err) == (1, True)
    shared_evsd.ok("key", "show", "unseen")


def test_an_output_that_is_closed_is_told(shared_evsd: Evsd) -> None:
    closed = written_to(shared_evsd, ">&-", "list")
    assert (closed.status, "standard output: Bad file descriptor" in closed.err) == (1, True)
    assert written_to(shared_evsd, ">&- 2>&-", "list").status == 1
    assert written_to(shared_evsd, "2>&-", "list").status == 0
    assert written_to(shared_evsd, "2>/dev/full", "show", "none").status == 1


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates() -> Iterator[tls.Certificates]:
    with temporary_state() as directory:
        yield tls.make(directory)


def made_for(directory: Path, name: str, ends: timedelta) -> Path:
    """A certificate, its own authority, and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evsd")])
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + ends)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


@contextmanager
def speaking_tls(certificate: Path, key: Path | None = None) -> Iterator[int]:
    """A server that shows this certificate; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(client, server_side=True).close()
            except OSError:
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_unknown_authority_is_told_with_the_setting(
    shared_evsd: Evsd, certificates: tls.Certificates, tmp_path: Path
) -> None:
    other = made_for(tmp_path, "localhost", timedelta(days=9))
    with speaking_tls(certificates.certificate, certificates.key) as port:
        for file in ({}, {"EVSD_CA": str(other)}):
            endpoint = f"https://127.0.0.1:{port}"
            found = told(shared_evsd, "list", EVSD_ENDPOINT=endpoint, **PAIR, **file)
            assert "set EVSD_CA to the file of the authority" in found["remedy"]
            assert ("is of another authority" in found["remedy"]) == bool(file)


@pytest.mark.parametrize(
    ("name", "days", "remedy"),
    [
        ("localhost", -1, "have evsd's certificate renewed"),
        ("elsewhere", 9, "EVSD_ENDPOINT must have a name or address that the certificate has"),
    ],
)
def test_a_certificate_that_is_not_good_is_told_with_what_to_do(
    shared_evsd: Evsd, tmp_path: Path, name: str, days: int, remedy: str
) -> None:
    file = made_for(tmp_path, name, timedelta(days=days))
    with speaking_tls(file) as port:
        endpoint = f"https://localhost:{port}"
        found = told(shared_evsd, "list", EVSD_ENDPOINT=endpoint, EVSD_CA=str(file), **PAIR)
    assert found["message"].startswith(f"the certificate of {endpoint} is not good: ")
    assert remedy in found["remedy"]


def test_tls_spoken_to_an_evsd_without_it_and_the_other_way_round_are_told(
    shared_evsd: Evsd, certificates: tls.Certificates, tmp_path: Path
) -> None:
    address = shared_evsd.url().removeprefix("http://")
    found = told(shared_evsd, "list", EVSD_ENDPOINT=f"https://{address}", **PAIR)
    assert f"EVSD_ENDPOINT=http://{address}" in found["remedy"]
    config = tmp_path / "evsd.toml"
    config.write_text(
        f'[tls]\ncertificate = "{certificates.certificate}"\nkey = "{certificates.key}"\n'
    )
    with running_evsd("--http", "127.0.0.1:0", "--config", str(config)) as secured:
        address = secured.url().removeprefix("https://")
        found = told(secured, "list", EVSD_ENDPOINT=f"http://{address}", **PAIR)
        assert f"EVSD_ENDPOINT=https://{address}" in found["remedy"]


def test_an_evsd_ca_that_is_no_certificate_is_wrong_usage(
    shared_evsd: Evsd, certificates: tls.Certificates, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for file in (tmp_path / "none", tmp_path, certificates.key, empty):
        endpoint = {"EVSD_ENDPOINT": "https://127.0.0.1:1", "EVSD_CA": str(file)}
        found = told(shared_evsd, "list", **endpoint, **PAIR)
        assert (found["code"], f"EVSD_CA={file}" in found["message"]) == ("evsctl.usage", True)
