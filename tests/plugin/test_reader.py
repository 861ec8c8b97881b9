"""docs/format.md is enough to read a volume: `tests.support.reader` was written from it alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nbd_plugin import luks2
from tests.support.reader import NoVolume, Reader
from tests.support.volume import MIB, Volume, new_volume

SIZE = 2 * MIB
COPY = 16384


@pytest.fixture(params=[True, False], ids=["thin", "thick"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Volume, bytes]]:
    """A volume with data, partial sectors and holes, and what it should read as."""
    chance = random.Random(1)  # noqa: S311
    content = bytearray(SIZE)
    with new_volume(tmp_path, size=SIZE, thin=request.param) as volume:
        with volume.served(), volume.connected() as (handle,):
            handle.zero(SIZE, 0)
            for _ in range(60):
                offset = chance.randrange(SIZE // 512) * 512
                length = min(chance.randrange(1, 64) * 512, SIZE - offset)
                data = bytes(length) if chance.random() < 0.3 else chance.randbytes(length)
                handle.pwrite(data, offset) if any(data) else handle.zero(length, offset)
                content[offset : offset + length] = data
        yield volume, bytes(content)


def read_all(volume: Volume) -> bytes:
    """By the independent reader."""
    with closing(Reader(volume.path, volume.service.dek)) as reader:
        assert reader.size == SIZE
        assert reader.thin == volume.header.thin
        assert reader.token["cmk_id"] == volume.header.cmk_id
        return b"".join(reader.sector(number) for number in range(SIZE // 4096))


def test_the_independent_reader_reads_what_clients_wrote(written: tuple[Volume, bytes]) -> None:
    volume, content = written
    assert read_all(volume) == content


@pytest.mark.parametrize("damaged", [0, 1])
def test_it_reads_by_either_copy_of_the_header(written: tuple[Volume, bytes], damaged: int) -> None:
    volume, content = written
    with volume.path.open("r+b") as file:
        luks2.write(file.fileno(), volume.header._replace(sequence=2))
        file.seek(damaged * COPY + 5000)
        file.write(os.urandom(16))
    assert read_all(volume) == content


def test_it_refuses_another_key(written: tuple[Volume, bytes]) -> None:
    with pytest.raises(NoVolume, match="another key"):
        Reader(written[0].path, os.urandom(64))
