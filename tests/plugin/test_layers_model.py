"""Sequences of operations on a volume with layers, against arrays of bytes.

The compiled path and the operations on files are the real ones, in this process. Operations on
layers are also ended before any line that they run, and then done again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from evsd.pools.pool import PoolError
from nbd_plugin import _datapath
from tests.support.examples import REPEATABLE
from tests.support.layered import FAST_ZERO, MAY_TRIM, Disk, crashing

SECTOR, UNIT = 4096, 512
SIZE = 34 * SECTOR  # two stripes and a bit
STEP = 9 * SECTOR  # that it is extended by
MAX_SNAPSHOTS = 5
SEQUENCES = int(os.environ.get("EVSD_SEQUENCES", "300"))
STEPS = 10 if SEQUENCES <= 300 else 40

units = st.integers(0, SIZE // UNIT - 1).map(lambda unit: unit * UNIT)
places = units | st.integers(0, SIZE // SECTOR - 1).map(lambda sector: sector * SECTOR)
lengths = (
    st.integers(1, 9).map(lambda count: count * UNIT)
    | st.integers(1, 20).map(lambda count: count * SECTOR)
    | st.integers(1, 5000)
)
crashes = st.none() | st.integers(0, 250)


class Layers(RuleBasedStateMachine):
    """What the volume and each snapshot should hold."""

    @initialize(
        kind=st.sampled_from(["thin", "thin", "clone", "thick"]),
        parent=st.sampled_from(["/dev/shm", "/dev/shm", "/dev/shm", None]),
    )
    def make(self, kind: str, parent: str | None) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=parent))
        self.model = bytearray(SIZE)
        source = self._source() if kind == "clone" else None
        self.disk = Disk(self.directory, SIZE, thin=kind != "thick", clone_of=source)
        self.thin = kind != "thick"
        self.snapshots: dict[str, bytes] = {}
        self.disk.open()

    def _source(self) -> tuple[Disk, str]:
        """A smaller disk whose layers have another key, and a snapshot of it."""
        source = Disk(self.directory, SIZE - 2 * SECTOR)
        for at in (0, 3 * SECTOR, 20 * SECTOR):
            self.model[at : at + 5000] = data = os.urandom(5000)
            source.open()
            source.write(data, at)
            source.unserve()
            made = source.snapshot(served=False)
        source.close()
        return source, made

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            for snapshot, content in self.snapshots.items():
                assert self.disk.content(snapshot) == content
            assert self.disk.content() == self.model
            self.disk.close()
            shutil.rmtree(self.directory)

    @rule(offset=places, length=lengths, value=st.integers(0, 255))
    def write(self, offset: int, length: int, value: int) -> None:
        length = min(length, len(self.model) - offset)
        self.disk.write(bytes([value]) * length, offset)
        self.model[offset : offset + length] = bytes([value]) * length

    @rule(offset=places, length=lengths, flags=st.sampled_from([0, MAY_TRIM, MAY_TRIM | FAST_ZERO]))
    def zero(self, offset: int, length: int, flags: int) -> None:
        length = min(length, len(self.model) - offset)
        try:
            _datapath.zero(None, length, offset, flags)
        except OSError:
            assert flags & FAST_ZERO
        else:
            self.model[offset : offset + length] = bytes(length)

    @precondition(lambda self: self.thin)
    @rule(offset=places, length=lengths)
    def trim(self, offset: int, length: int) -> None:
        length = min(length, len(self.model) - offset)
        _datapath.trim(None, length, offset, 0)
        self.model[offset : offset + length] = bytes(length)

    @precondition(lambda self: len(self.snapshots) < MAX_SNAPSHOTS)
    @rule(served=st.booleans(), crash=crashes)
    def snapshot(self, served: bool, crash: int | None) -> None:
        made = str(uuid.uuid4())
        if crash is not None and crashing(crash, lambda: self.disk.take(made, served=served)):
            self._after_crash()
        self.disk.take(made, served=served)
        self.snapshots[made] = bytes(self.model)
        if not served:
            self.disk.open()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), crash=crashes)
    def roll_back(self, data: st.DataObject, crash: int | None) -> None:
        snapshot = data.draw(st.sampled_from(list(self.snapshots)))
        size, old = len(self.model), self.model
        self.model = bytearray(self.snapshots[snapshot].ljust(size, b"\0"))
        if crash is not None and crashing(crash, lambda: self.disk.roll_back(snapshot)):
            self.disk.recover()
            assert self.disk.content() in (old, self.model)
        self.disk.roll_back(snapshot)
        self.disk.open()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), crash=crashes)
    def remove(self, data: st.DataObject, crash: int | None) -> None:
        snapshot = data.draw(st.sampled_from(list(self.snapshots)))
        self.disk.unserve()
        try:
            if crash is not None and crashing(crash, lambda: self.disk.remove(snapshot)):
                self._after_crash()
                self.disk.unserve()
            self.disk.remove(snapshot)
            del self.snapshots[snapshot]
        except PoolError:
            pass  # several stand on it
        self.disk.open()

    @precondition(lambda self: len(self.model) < SIZE + 3 * STEP)
    @rule()
    def extend(self) -> None:
        size = len(self.model) + STEP
        self.disk.extend(size)
        self.model = self.model.ljust(size, b"\0")
        self.disk.open()

    @rule()
    def serve_again(self) -> None:
        self.disk.open()

    def _after_crash(self) -> None:
        """Nothing was lost, whether it had been done or not."""
        self.disk.unserve()
        self.disk.recover()
        assert self.disk.content() == self.model

    @invariant()
    def holds_what_it_should(self) -> None:
        if hasattr(self, "disk"):
            assert self.disk.read(len(self.model)) == self.model
            for at, length, kind in _datapath.extents(None, len(self.model), 0, 0):
                assert not kind or not any(self.model[at : at + length])


TestLayers = Layers.TestCase
TestLayers.settings = settings(
    REPEATABLE,
    max_examples=SEQUENCES,
    stateful_step_count=STEPS,
    derandomize="EVSD_SEQUENCES" not in os.environ,
)
