"""The life of a server: what it refuses at start, when it asks for the key, when it forgets it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.memory import Memory, memory_of, naps
from tests.support.nbdkit import locked
from tests.support.volume import ENVIRONMENT, MIB, PLUGIN, Volume, eventually, new_volume, stop

nbd = libnbd.load()


def sha256(path: Path) -> str:
    """Of the whole file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused_start(volume: Volume, ticket: str | None = None) -> str:
    """Start a server that must end by itself; gives what it said, which is one line."""
    process = volume.start(ticket)
    try:
        assert process.wait(60) == 1
    finally:
        stop(process, process.pid)
    lines = [line for line in volume.log.read_text().splitlines() if line.strip()]
    assert len(lines) == 1
    assert not volume.socket.exists()
    return lines[0]


def refused_connection(volume: Volume) -> str:
    """Connect, which must fail; gives the line the server said about it."""
    before = len(volume.log.read_text())

    def said() -> list[str]:
        lines = volume.log.read_text()[before:].splitlines()
        return [line for line in lines if "open: error:" in line]

    with pytest.raises(nbd.Error), volume.connection():
        pass
    eventually(lambda: bool(said()))
    return said()[0]


def test_a_volume_with_two_broken_headers_is_refused_and_untouched(volume: Volume) -> None:
    with volume.path.open("r+b") as file:
        for offset in (5000, 16384 + 5000):
            file.seek(offset)
            file.write(b"x")
    before = sha256(volume.path)
    assert "the checksum of its LUKS2 header does not match" in refused_start(volume)
    assert sha256(volume.path) == before


def test_a_truncated_volume_is_refused(volume: Volume) -> None:
    os.truncate(volume.path, volume.path.stat().st_size - 1)
    assert "the volume is truncated" in refused_start(volume)


def test_a_missing_file_is_refused(volume: Volume) -> None:
    volume.path.unlink()
    assert "No such file or directory" in refused_start(volume)


def test_an_empty_ticket_is_refused(volume: Volume) -> None:
    assert "there was no ticket" in refused_start(volume, "")


@pytest.mark.parametrize("ticket", ["no hex", "é", "ab" * 3000])
def test_a_malformed_ticket_is_refused(volume: Volume, ticket: str) -> None:
    assert "the ticket is" in refused_start(volume, ticket)


@pytest.mark.parametrize(
    ("argument", "message"),
    [("colour=red", "colour= is unknown"), ("attachment=other", "attachment= is given twice")],
)
def test_bad_configuration_is_refused(volume: Volume, argument: str, message: str) -> None:
    volume.arguments = (argument,)
    assert message in refused_start(volume)


def test_a_missing_setting_is_named(volume: Volume) -> None:
    done = subprocess.run(
        ["nbdkit", "-f", f"--unix={volume.socket}", "python", str(PLUGIN), "attachment=a"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "file= is missing" in done.stderr


def test_no_key_is_asked_for_before_the_first_connection(volume: Volume) -> None:
    with volume.served():
        assert volume.service.requests == []


def test_the_request_carries_what_the_header_says(volume: Volume) -> None:
    with volume.served(), volume.connected():
        (request,) = volume.service.requests
    assert request["volume_id"] == volume.header.uuid
    assert request["cmk_id"] == volume.header.cmk_id
    assert request["context"] == volume.header.context
    assert request["attachment_id"] == volume.attachment
    assert len(request["public_key"]) == 64


def test_a_second_connection_does_not_ask_again(volume: Volume) -> None:
    with volume.served(), volume.connected(3):
        assert len(volume.service.requests) == 1


def test_after_the_last_close_the_next_connection_asks_again(volume: Volume) -> None:
    with volume.served():
        with volume.connected(2):
            pass
        eventually(lambda: not locked(volume.path))
        with volume.connected():
            assert len(volume.service.requests) == 2
        assert len({request["public_key"] for request in volume.service.requests}) == 2


def test_a_key_disabled_meanwhile_is_refused_at_the_next_connection(volume: Volume) -> None:
    with volume.served():
        with volume.connected() as (first,):
            volume.service.refusal = {"code": "KMS.0209", "message": "The key k is disabled."}
            first.pwrite(b"x" * 4096, 0)  # goes on while attached
        eventually(lambda: not locked(volume.path))
        assert "KMS.0209 The key k is disabled." in refused_connection(volume)
        volume.service.refusal = None
        with volume.connected() as (again,):
            assert again.pread(4096, 0) == b"x" * 4096


def test_a_refusal_is_one_line_with_code_and_message(volume: Volume) -> None:
    volume.service.refusal = {"code": "KMS.0209", "message": "The key is\ndisabled: enable it."}
    with volume.served():
        said = refused_connection(volume)
    assert said.endswith("open: error: KMS.0209 The key is disabled: enable it.")


def test_a_wrong_ticket_is_refused(volume: Volume) -> None:
    with volume.served(ticket="ab" * 32):
        assert "IAM.0403 wrong ticket" in refused_connection(volume)


def test_an_unreachable_key_service_is_said_so(volume: Volume, tmp_path: Path) -> None:
    volume.service.socket = tmp_path / "nobody"
    with volume.served():
        assert "the key service can't be reached" in refused_connection(volume)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no json\n",
        b"[]\n",
        b"{}\n",
        b'{"error": 5}\n',
        b'{"error": {"code": 1}}\n',
        b'{"encapsulated_key": "ab", "sealed_dek": "cd"}\n',
        b"[" * 50000 + b"\n",
        b"x" * 70000,
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_a_malformed_answer_is_refused(volume: Volume, answer: bytes) -> None:
    with volume.served():
        volume.service.raw_answer = answer
        assert "the key service's answer" in refused_connection(volume)
        volume.service.raw_answer = None
        with volume.connected():
            pass


def test_a_silent_key_service_is_given_up_after_ten_seconds(volume: Volume, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        listener.listen()
        volume.service.socket = silent
        with volume.served(), pytest.raises(nbd.Error), volume.connection():
            pass
    assert "did not answer in 10 s" in volume.log.read_text()


def test_a_wrong_key_is_refused_before_anything_is_written(volume: Volume) -> None:
    before = sha256(volume.path)
    volume.service.dek = os.urandom(64)
    with volume.served():
        assert "another key than this volume's" in refused_connection(volume)
    assert sha256(volume.path) == before


def test_a_key_sealed_for_another_attachment_is_refused(volume: Volume) -> None:
    volume.service.seal_for = "another"
    with volume.served():
        assert "not authentic" in refused_connection(volume)


def test_a_header_broken_while_nobody_was_connected_is_refused(volume: Volume) -> None:
    with volume.served():
        with volume.path.open("r+b") as file:
            file.write(bytes(32768))
        assert "the volume is refused: it is empty" in refused_connection(volume)


def test_a_volume_extended_while_nobody_was_connected_has_its_new_size(volume: Volume) -> None:
    with volume.served():
        header = volume.header._replace(size=volume.header.size + MIB, sequence=2)
        with volume.path.open("r+b") as file:
            file.truncate(luks2.DATA_OFFSET + header.size)
            luks2.write(file.fileno(), header)
        with volume.connected() as (handle,):
            assert handle.get_size() == header.size


def test_connections_that_come_and_go_at_once_always_have_the_key(volume: Volume) -> None:
    with volume.served():
        with volume.connected() as (handle,):
            handle.pwrite(b"d" * 4096, 0)

        def use(_: int) -> bytes:
            with volume.connection() as connection:
                return bytes(connection.pread(4096, 0))

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(use, range(80))) == {b"d" * 4096}


def test_a_volume_has_one_writing_server_at_a_time(volume: Volume, tmp_path: Path) -> None:
    other = replace(volume, socket=tmp_path / "other.sock")
    with volume.served(), other.served():
        with volume.connected():
            assert "another server is serving this volume" in refused_connection(other)
        eventually(lambda: _connects(other))


def test_a_volume_may_have_many_reading_servers(volume: Volume, tmp_path: Path) -> None:
    other = replace(volume, socket=tmp_path / "other.sock")
    with (
        volume.served("--readonly"),
        other.served("--readonly"),
        volume.connected(),
        other.connected() as (handle,),
    ):
        assert handle.pread(512, 0) == bytes(512)


def _connects(volume: Volume) -> bool:
    try:
        with volume.connection():
            return True
    except nbd.Error:
        return False


def test_a_read_only_server_refuses_writes(volume: Volume) -> None:
    with volume.served("--readonly"), volume.connected() as (handle,):
        assert handle.is_read_only()
        for refused, arguments in (
            (handle.pwrite, (b"x" * 512, 0)),
            (handle.zero, (4096, 0)),
            (handle.trim, (4096, 0)),
        ):
            with pytest.raises(nbd.Error):
                refused(*arguments)
        assert handle.pread(512, 0) == bytes(512)


def test_a_read_only_server_serves_a_file_it_may_not_write(volume: Volume) -> None:
    with volume.served("--readonly") as process, volume.connected():
        descriptors = Path(f"/proc/{process.pid}/fd").iterdir()
        opened = [fd for fd in descriptors if fd.is_symlink() and fd.resolve() == volume.path]
        flags = Path(f"/proc/{process.pid}/fdinfo/{opened[0].name}").read_text()
        mode = int(flags.split("flags:")[1].split()[0], 8)
    assert mode & os.O_ACCMODE == os.O_RDONLY


def test_what_is_advertised(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        assert handle.get_block_size(nbd.SIZE_MINIMUM) == 1
        assert handle.get_block_size(nbd.SIZE_PREFERRED) == 4096
        assert handle.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB
        for promise in (
            handle.can_flush,
            handle.can_fua,
            handle.can_trim,
            handle.can_zero,
            handle.can_fast_zero,
            handle.can_multi_conn,
            handle.can_cache,
        ):
            assert promise()
        assert not handle.is_rotational()
        assert handle.get_size() == volume.header.size


def test_a_thick_volume_offers_no_trim(thick: Volume) -> None:
    with thick.served(), thick.connected() as (handle,):
        assert not handle.can_trim()


def test_a_stopped_server_loses_nothing(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(b"k" * 4096, 4096)
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(4096, 4096) == b"k" * 4096


def test_a_stopped_server_does_not_wait_for_clients_that_are_idle(volume: Volume) -> None:
    with volume.served() as process, volume.connected(2) as (handle, _):
        handle.pwrite(b"i" * 4096, 0)
        process.terminate()
        assert process.wait(60) == 0
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(4096, 0) == b"i" * 4096


def test_a_reply_need_not_wait_for_its_client_to_read(volume: Volume) -> None:
    def unread(connection: int) -> int:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0])

    with volume.served(), volume.connected() as (handle,):
        buffer = nbd.Buffer(MIB)
        handle.aio_pread(buffer, 0)  # libnbd reads the reply when it is told to, it is not
        # More than Linux's default holds, 208 KiB; any system allows twice that.
        eventually(lambda: unread(handle.aio_get_fd()) > 256 * 1024)


def test_threads_that_end_leave_no_python_state_behind(volume: Volume) -> None:
    # Every connection has four threads; 100 connections that leaked a thread state each
    # (10 KB and more) would show.
    with volume.served() as process, volume.connected():

        def use() -> None:
            with volume.connection() as connection:
                for _ in range(8):
                    connection.pread(4096, 0)

        for _ in range(20):
            use()
        before = memory_of(process.pid).resident
        workers = [threading.Thread(target=use) for _ in range(100)]
        for worker in workers:
            worker.start()
            worker.join()
        # The last threads end after their clients have gone.
        eventually(lambda: memory_of(process.pid).resident - before < 2 * MIB)


def test_memory_stays_small(volume: Volume) -> None:
    # Measured 9 MiB, of which 4.4 MiB are private and dirty: Python, and libraries' relocations.
    with volume.served() as process, volume.connected() as (handle,):
        for number in range(64):
            handle.pwrite(b"x" * 4096, number * 4096)
            handle.pread(4096, number * 4096)
        used = memory_of(process.pid)
    assert used.resident < 16 * MIB
    assert used.private_dirty < 5 * MIB


def test_a_fresh_server_gives_its_first_reply(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(4096, 0) == bytes(4096)


def test_volumes_that_nobody_uses_sleep_and_take_memory_in_proportion(tmp_path: Path) -> None:
    def memory(count: int) -> list[Memory]:
        """Of each, once nobody has woken for a second."""
        with ExitStack() as stack:
            pids = []
            for number in range(count):
                directory = tmp_path / f"{count}-{number}"
                directory.mkdir()
                volume = stack.enter_context(new_volume(directory, size=MIB))
                pids.append(stack.enter_context(volume.served()).pid)
                (handle,) = stack.enter_context(volume.connected())
                handle.pread(4096, 0)

            def asleep() -> bool:
                before = [naps(pid) for pid in pids]
                time.sleep(1)
                return before == [naps(pid) for pid in pids]

            eventually(asleep)
            return [memory_of(pid) for pid in pids]

    # Servers of other tests may share pages with the one, so all its pages count.
    [one] = memory(1)
    assert sum(each.proportional for each in memory(10)) < 10 * one.resident
