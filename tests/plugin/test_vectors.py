"""The sector cipher, in each width this processor has, against NIST's vectors and another's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cryptography_vectors
import pytest

from nbd_plugin import _datapath
from tests.plugin.test_data import encrypt

SECTOR, UNIT = 4096, 512
VECTORS = (
    Path(cryptography_vectors.__file__).parent
    / "ciphers/AES/XTS/tweak-dataunitseqno/XTSGenAES256.rsp"
)


LIBCRYPTO, WIDTHS = 0, (1, 2, 4)
SOURCE = Path(__file__).parents[2] / "nbd_plugin" / "native" / "xts.c"


def _has(lanes: int) -> bool:
    try:
        _datapath.crypt(bytes(64), 0, bytes(SECTOR), True, lanes)
    except ValueError:
        return False
    return True


AVAILABLE = [lanes for lanes in WIDTHS if _has(lanes)]
implementations = pytest.mark.parametrize(
    "lanes", [LIBCRYPTO, *AVAILABLE], ids=lambda lanes: f"{lanes} lanes" if lanes else "libcrypto"
)


@dataclass
class Vector:
    """One of CAVP's: the tweak is the data unit's number, as in plain64."""

    encrypt: bool
    key: bytes
    unit: int
    source: bytes
    result: bytes


def vectors() -> Iterator[Vector]:
    """Those of whole blocks; a sector has no part of one, so no ciphertext stealing."""
    encrypting, fields = True, {"": ""}
    for line in VECTORS.read_text().splitlines():
        if line in ("[ENCRYPT]", "[DECRYPT]"):
            encrypting = line == "[ENCRYPT]"
        name, _, value = (part.strip() for part in line.partition("="))
        fields[name] = value
        if name != ("CT" if encrypting else "PT") or int(fields["DataUnitLen"]) % 128:
            continue
        plaintext, ciphertext = bytes.fromhex(fields["PT"]), bytes.fromhex(fields["CT"])
        source, result = (plaintext, ciphertext) if encrypting else (ciphertext, plaintext)
        unit, key = int(fields["DataUnitSeqNumber"]), bytes.fromhex(fields["Key"])
        yield Vector(encrypting, key, unit, source, result)


@implementations
def test_nists_vectors(lanes: int) -> None:
    # XTS encrypts each block by itself: a shorter data unit is the beginning of a sector.
    count = 0
    for vector in vectors():
        sector = vector.source.ljust(SECTOR, b"\0")
        result = _datapath.crypt(vector.key, vector.unit, sector, vector.encrypt, lanes)
        assert result.startswith(vector.result)
        count += 1
    assert count == 600


@implementations
@pytest.mark.parametrize("unit", [0, 8, 2**32 - 8, 2**32, 2**53, 2**54 - 8])
def test_whole_sectors_like_another_implementation(lanes: int, unit: int) -> None:
    key, plaintext = os.urandom(64), os.urandom(SECTOR)
    ciphertext = _datapath.crypt(key, unit, plaintext, True, lanes)
    assert ciphertext == encrypt(key, plaintext, unit * 512)
    assert _datapath.crypt(key, unit, ciphertext, False, lanes) == plaintext


def test_a_part_of_a_sector_is_as_within_the_whole() -> None:
    key, plaintext, unit = os.urandom(64), os.urandom(SECTOR), 8
    ciphertext = encrypt(key, plaintext, unit * 512)
    starts = range(0, SECTOR, UNIT)
    parts = [(at, end) for at in starts for end in range(at + UNIT, SECTOR + 1, UNIT)]
    for lanes, (at, end) in itertools.product(AVAILABLE, parts):
        clear, sealed = plaintext[at:end], ciphertext[at:end]
        assert _datapath.crypt(key, unit, clear, True, lanes, at) == sealed
        assert _datapath.crypt(key, unit, sealed, False, lanes, at) == clear


def test_the_answer_each_width_must_give_is_another_implementations() -> None:
    data = bytes(i % 251 for i in range(5 * SECTOR))
    answer = 0xCBF29CE484222325
    for byte in encrypt(bytes(range(64)), data, 2**40 * SECTOR):
        answer = (answer ^ byte) * 0x100000001B3 % 2**64
    assert f"#define XTS_ANSWER {answer:#018x}u" in SOURCE.read_text()


@pytest.mark.parametrize(
    ("key", "data", "lanes", "at"),
    [
        (63, SECTOR, LIBCRYPTO, 0),
        (64, 0, LIBCRYPTO, 0),
        (64, SECTOR - UNIT, LIBCRYPTO, 0),
        (64, SECTOR + UNIT, 1, 0),
        (64, SECTOR, 1, UNIT),
        (64, UNIT - 1, 1, 0),
        (64, UNIT, 1, 1),
        (64, SECTOR, 3, 0),
    ],
)
def test_other_lengths_are_refused(key: int, data: int, lanes: int, at: int) -> None:
    with pytest.raises(ValueError, match=r"expected|no AES of 3 lanes"):
        _datapath.crypt(bytes(key), 0, bytes(data), True, lanes, at)
