"""The compiled key handling, against the `cryptography` package's HPKE."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from nbd_plugin import _datapath
from tests.support.key_service import seal

SALT = b"s" * 32
INFO = b"evsd key release v1:att"


@pytest.fixture(autouse=True)
def wiped() -> Iterator[None]:
    """The key is the process's: leave none to the next test."""
    yield
    _datapath.wipe()


@pytest.fixture
def dek() -> bytes:
    """A data key."""
    return os.urandom(64)


def digest(dek: bytes) -> bytes:
    """As in the header."""
    return hashlib.pbkdf2_hmac("sha256", dek, SALT, 1000, 32)


def requests(offset: int, length: int) -> list[Callable[[], object]]:
    """One of each kind that needs the key."""
    return [
        partial(_datapath.pread, None, memoryview(bytearray(length)), offset, 0),
        partial(_datapath.pwrite, None, memoryview(bytes(length)), offset, 0),
        partial(_datapath.zero, None, length, offset, 0),
        partial(_datapath.trim, None, length, offset, 0),
    ]


def test_a_key_sealed_by_another_implementation_is_opened(dek: bytes) -> None:
    for _ in range(20):
        encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
        _datapath.unseal(encapsulated, sealed, INFO)
        assert _datapath.verify_digest(SALT, 1000, digest(dek))
        _datapath.wipe()


@pytest.mark.parametrize("part", ["encapsulated", "sealed", "info"])
def test_one_changed_bit_is_refused(dek: bytes, part: str) -> None:
    encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
    parts = {"encapsulated": encapsulated, "sealed": sealed, "info": INFO}
    parts[part] = bytes([parts[part][0] ^ 1]) + parts[part][1:]
    with pytest.raises(ValueError, match="not authentic"):
        _datapath.unseal(parts["encapsulated"], parts["sealed"], parts["info"])
    assert not _datapath.verify_digest(SALT, 1000, digest(dek))


def test_the_one_time_key_opens_once(dek: bytes) -> None:
    encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
    _datapath.unseal(encapsulated, sealed, INFO)
    _datapath.wipe()
    with pytest.raises(PermissionError):
        _datapath.unseal(encapsulated, sealed, INFO)


def test_a_failed_attempt_uses_the_one_time_key_up(dek: bytes) -> None:
    encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
    with pytest.raises(ValueError, match="not authentic"):
        _datapath.unseal(encapsulated, sealed, b"other")
    with pytest.raises(PermissionError):
        _datapath.unseal(encapsulated, sealed, INFO)


def test_every_one_time_key_is_another() -> None:
    assert len({_datapath.new_release_key() for _ in range(50)}) == 50


def test_a_public_key_of_small_order_is_refused() -> None:
    _datapath.new_release_key()
    with pytest.raises(ValueError, match="not authentic"):
        _datapath.unseal(bytes(32), bytes(80), INFO)


@pytest.mark.parametrize(("encapsulated", "sealed"), [(31, 80), (32, 79), (32, 81), (0, 0)])
def test_wrong_lengths_are_refused(encapsulated: int, sealed: int) -> None:
    _datapath.new_release_key()
    with pytest.raises(ValueError, match="wrong length"):
        _datapath.unseal(bytes(encapsulated), bytes(sealed), INFO)


def test_a_key_of_another_digest_can_not_be_used(dek: bytes) -> None:
    encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
    _datapath.unseal(encapsulated, sealed, INFO)
    assert not _datapath.verify_digest(SALT, 1000, digest(dek[::-1]))
    assert not _datapath.verify_digest(SALT, 1000, digest(dek)), "it was not wiped"


def test_an_unverified_key_does_no_io(dek: bytes) -> None:
    fd = os.memfd_create("volume")
    try:
        os.ftruncate(fd, 1 << 20)
        _datapath.set_volume(fd, 0, 1 << 20, True)
        encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
        _datapath.unseal(encapsulated, sealed, INFO)
        for request in requests(0, 4096):
            with pytest.raises(PermissionError):
                request()
        assert os.pread(fd, 1 << 20, 0) == bytes(1 << 20)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("offset", "length"), [(1 << 20, 1), ((1 << 20) - 1, 2), (1 << 62, 4096)])
def test_requests_out_of_bounds_get_einval(dek: bytes, offset: int, length: int) -> None:
    fd = os.memfd_create("volume")
    try:
        os.ftruncate(fd, 2 << 20)
        _datapath.set_volume(fd, 0, 1 << 20, True)
        encapsulated, sealed = seal(dek, _datapath.new_release_key(), "att")
        _datapath.unseal(encapsulated, sealed, INFO)
        assert _datapath.verify_digest(SALT, 1000, digest(dek))
        for request in requests(offset, length):
            with pytest.raises(OSError, match="Invalid argument"):
                request()
    finally:
        os.close(fd)
