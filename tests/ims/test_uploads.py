"""Images of files: every format, whole or not at all, and never on disk in clear."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.daemon import Evsd, until
from tests.support.images import FORMATS, cut, disk, made
from tests.support.ims import OCTETS, disks, queued, sent, shown, uploaded
from tests.support.transfer import MIB, attached, identical, image, run

KINDS = ("raw", *FORMATS)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture
def http(shared_evsd: Evsd) -> Iterator[httpx.Client]:
    with shared_evsd.http() as client:
        yield client


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk", "vhd", "vhdx"])
def test_a_volume_of_an_uploaded_image_has_the_bytes_that_qemu_reads(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, kind: str
) -> None:
    source = raw if kind == "raw" else made(raw, tmp_path / "source", kind)
    image_id = uploaded(shared_evsd, f"of-{kind}", source, disk_format=kind)
    found = shown(shared_evsd, image_id)
    assert (found["status"], found["disk_format"], found["min_disk"]) == ("active", kind, 1)
    assert (found["size"], found["virtual_size"]) == (source.stat().st_size, 12 * MIB)
    assert found["checksum"] == md5(source)
    shared_evsd.ok("create", f"from-{kind}", "--from-image", f"of-{kind}")
    with attached(shared_evsd, f"from-{kind}") as uri:
        assert identical(raw, uri)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_was_cut_is_refused_and_waits_for_its_data(
    shared_evsd: Evsd, http: httpx.Client, raw: Path, tmp_path: Path, kind: str
) -> None:
    source = raw if kind == "raw" else made(raw, tmp_path / "source", kind)
    short, before = cut(source, source.stat().st_size * 3 // 5 + 7), disks(shared_evsd)
    image_id = queued(http, f"cut-{kind}")
    answer = sent(http, image_id, short)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "IMG.0057"
    assert shown(shared_evsd, image_id)["status"] == "queued"
    assert disks(shared_evsd) == before


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def test_after_a_refusal_another_file_can_be_sent(
    shared_evsd: Evsd, http: httpx.Client, raw: Path
) -> None:
    image_id = queued(http, "second-try")
    assert sent(http, image_id, cut(raw, 7 * MIB + 3)).status_code == 400
    assert sent(http, image_id, raw).status_code == 204
    assert sent(http, image_id, raw).json()["error"]["code"] == "IMG.0090"
    assert shown(shared_evsd, image_id)["status"] == "active"


def test_an_image_that_names_another_file_is_refused(http: httpx.Client, tmp_path: Path) -> None:
    child = tmp_path / "child"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", child)
    refused = sent(http, queued(http, "thief"), child)
    assert "/etc/passwd; such images are refused" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("said", "is_format"), [("raw", "qcow2"), ("vmdk", "qcow2")])
def test_a_file_that_is_not_what_its_format_says_is_refused(
    http: httpx.Client, raw: Path, tmp_path: Path, said: str, is_format: str
) -> None:
    source = made(raw, tmp_path / "source", is_format)
    refused = sent(http, queued(http, f"no-{said}", disk_format=said), source)
    message = f"no-{said} is {is_format}, its disk_format says {said}; say disk_format {is_format}"
    assert refused.json()["error"]["message"] == message


def test_a_compressed_file_is_refused(http: httpx.Client, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(b"\x1f\x8b\x08" + bytes(5000))
    refused = sent(http, queued(http, "packed"), packed)
    assert "packed is gzip, and no image is made of that" in refused.json()["error"]["message"]


def test_an_upload_is_never_in_clear_on_disk(shared_evsd: Evsd, tmp_path: Path) -> None:
    """It has stopped in the middle, with nine of ten MiB written."""
    source = image(tmp_path / "raw", data_mib=9, size=10 * MIB)
    data, before = source.read_bytes(), disks(shared_evsd)
    marks = [data[at : at + 32] for at in range(MIB, 9 * MIB, 64 * 1024)]
    with shared_evsd.http() as http:
        image_id = queued(http, "secret")
    with begun(shared_evsd, image_id, len(data)) as connection:
        connection.sendall(data[: 9 * MIB])
        until(lambda: written(shared_evsd, before) > 7 * MIB)
        held = b"".join(file.read_bytes() for file in since(shared_evsd, before))
        assert not [mark for mark in marks if mark in held]
    until(lambda: shown(shared_evsd, image_id)["status"] == "queued")
    assert disks(shared_evsd) == before


def begun(evsd: Evsd, image_id: str, length: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(evsd.socket))
    head = f"PUT /v2/images/{image_id}/file HTTP/1.1\r\nHost: evsd\r\nContent-Length: {length}"
    connection.sendall(f"{head}\r\n\r\n".encode())
    return connection


def written(evsd: Evsd, before: set[str]) -> int:
    return sum(file.stat().st_blocks * 512 for file in since(evsd, before))


def since(evsd: Evsd, before: set[str]) -> list[Path]:
    """The files of disks that were not there before."""
    return [file for file in evsd.pool.iterdir() if file.name.partition(".")[0] not in before]


def test_a_file_of_unknown_length_is_taken_too(
    shared_evsd: Evsd, http: httpx.Client, raw: Path
) -> None:
    image_id = queued(http, "chunked")

    def chunks() -> Iterator[bytes]:
        data = raw.read_bytes()
        for at in range(0, len(data), 100_001):
            yield data[at : at + 100_001]

    path = f"/v2/images/{image_id}/file"
    assert http.put(path, content=chunks(), headers=OCTETS).status_code == 204
    found = shown(shared_evsd, image_id)
    assert (found["status"], found["size"]) == ("active", 12 * MIB)


def test_a_file_of_another_length_than_was_said_is_refused(
    shared_evsd: Evsd, http: httpx.Client, raw: Path
) -> None:
    image_id, data = queued(http, "longer"), raw.read_bytes()
    for said in (len(data) - 512, len(data) + 512):
        headers = {**OCTETS, "X-OpenStack-Image-Size": str(said)}
        path = f"/v2/images/{image_id}/file"
        refused = http.put(path, content=iter([data]), headers=headers)
        assert "did not come whole" in refused.json()["error"]["message"]
    assert shown(shared_evsd, image_id)["status"] == "queued"


def test_a_file_that_the_pool_has_no_room_for_is_refused_before_it_comes(
    shared_evsd: Evsd, http: httpx.Client
) -> None:
    image_id = queued(http, "too-long")
    with begun(shared_evsd, image_id, 7 << 40) as connection:
        connection.settimeout(60)
        answer = b""
        while b"bytes are to come" not in answer:
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 507")
    assert b"7,696,581,394,432 bytes are to come" in answer
    assert shown(shared_evsd, image_id)["status"] == "queued"


def test_a_disk_that_is_larger_than_any_volume_is_refused(
    http: httpx.Client, tmp_path: Path
) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "huge", "40T")
    refused = sent(http, queued(http, "huge"), tmp_path / "huge")
    assert "a volume has 32768 GiB at most" in refused.json()["error"]["message"]


def test_an_upload_is_never_whole_in_memory(shared_evsd: Evsd, tmp_path: Path) -> None:
    def peak() -> int:
        status = Path(f"/proc/{shared_evsd.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    before = peak()
    uploaded(shared_evsd, "much", image(tmp_path / "raw", size=300 * MIB))
    assert peak() - before < 60 * MIB


def test_an_empty_file_is_refused(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    refused = sent(http, queued(http, "empty"), tmp_path / "empty")
    assert refused.json()["error"]["code"] == "IMG.0057"


def test_the_name_of_an_image_is_taken_once(http: httpx.Client) -> None:
    queued(http, "one-name")
    refused = http.post("/v2/images", json={"name": "one-name"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "IMG.0009")
