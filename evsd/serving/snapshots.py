"""Snapshots of disks, served or not: each operation is one call, which may be made again.

What is on disk says how far one came, whatever interrupted it: `take` goes on, `sweep` finishes
all others. A record is needed for none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog

from evsd.layers import cloning, making, recovery, removal, usage
from evsd.layers.chain import ChainTooLong, Layer, read, snapshot_path, volume_path
from evsd.layers.recovery import FoundSnapshot
from evsd.layers.usage import LayerUsage
from evsd.pools.pool import Pool, PoolError, VolumeBusy
from evsd.serving.control import ServerControl
from evsd.serving.failures import ServerFailed
from evsd.serving.supervisor import ServerSupervisor
from nbd_plugin import luks2

log = structlog.get_logger()

T = TypeVar("T")


class Deferred(PoolError):
    """It is done as far as it can be now; `sweep` does the rest when its reason has gone."""


class NotAtOneMoment(PoolError):
    """Snapshots of several disks were begun before, and interrupted: delete them, take others."""


class DiskSnapshots:
    """Those of the disks of one pool, by the ids of disks and snapshots.

    All methods raise `PoolError`; those that say so, `ServerFailed` where a server can't be told.
    """

    def __init__(self, pool: Pool, servers: ServerSupervisor) -> None:
        self._pool, self._servers = pool, servers
        self._unfinished = True  # perhaps, by the last run

    @property
    def _directory(self) -> Path:
        return self._pool.place

    def start(self) -> None:
        """Clean up after the last run, before anything else is done with snapshots; then sweep."""
        removal.clean(self._directory)

    def take(self, snapshots: Mapping[str, str]) -> None:
        """Freeze disks, each as the snapshot that it is mapped to; when it returns, on disk.

        Several at one moment, while none of their servers answers anybody. After a failure `remove`
        each; or, a single one, take it again. Raises `ChainTooLong`, `SizeDiffers` (an extension is
        unfinished), `NotAtOneMoment`, `ServerFailed`.
        """
        self._unfinished = True  # until it is
        with self._servers.disks.held(*snapshots):
            controls = {disk_id: self._servers.control(disk_id) for disk_id in snapshots}
            for disk_id, control in controls.items():
                self._finish(disk_id, control, goes_on=True)
            if len(snapshots) > 1:
                self._require_new(snapshots)
                self._go_over_at_once(snapshots, controls)
            for disk_id, snapshot_id in snapshots.items():
                self._take(disk_id, snapshot_id, controls[disk_id])
        for control in controls.values():
            if control is not None:
                control.flush()

    def _require_new(self, snapshots: Mapping[str, str]) -> None:
        """Whether what was begun was done at one moment, no file tells."""
        for disk_id, snapshot_id in snapshots.items():
            if snapshot_path(self._directory, snapshot_id).exists():
                raise NotAtOneMoment(f"snapshot {snapshot_id} of {disk_id} is there already")

    def _go_over_at_once(
        self, snapshots: Mapping[str, str], controls: Mapping[str, ServerControl | None]
    ) -> None:
        """Have all servers go over to their new layers while none of them answers anybody."""
        with ExitStack() as stack:
            layers = {
                control: stack.enter_context(making.opened(layer))
                for disk_id, snapshot_id in snapshots.items()
                if (layer := self._with_room(making.prepare, disk_id, snapshot_id)) is not None
                and (control := controls[disk_id]) is not None
            }
            held = {control: stack.enter_context(control.held()) for control in layers}
            for control, descriptor in layers.items():
                held[control].switch(descriptor)
            for server in held.values():
                server.require_held()

    def remove(self, disk_id: str, snapshot_id: str) -> None:
        """Delete a snapshot, wherever in the chain, or what a `take` that failed has left of it.

        Raises `Deferred` while a server has its layer or another disk stands on it: the snapshot is
        deleted then, what remains is `sweep`'s to do. Raises `ServerFailed` only for one that was
        not finished, and whose server can't be asked how far it came.
        """
        self.hide(disk_id, snapshot_id)
        for layer in self._sweep(disk_id):
            if layer.path.stem == snapshot_id:
                raise Deferred(f"{layer.path.name} is taken out of its chain when nobody needs it")

    def hide(self, disk_id: str, snapshot_id: str) -> None:
        """Delete a snapshot as `remove` does, at once; its layer goes with the next `sweep`."""
        with self._held(disk_id) as control:
            self._finish(disk_id, control, goes_on=False)
            removal.hide(self._directory, disk_id, snapshot_id)

    def roll_back(self, disk_id: str, snapshot_id: str) -> None:
        """Drop what was written since a snapshot. Raises `VolumeBusy` while the disk is served."""
        with self._unserved(disk_id):
            recovery.finish(self._directory, disk_id)
            making.roll_back(self._directory, disk_id, snapshot_id)

    def clone(self, disk_id: str, snapshot_id: str, header: luks2.Header) -> None:
        """Make another disk that reads as a snapshot of this one; nothing is copied.

        `header` is the new disk's, with a data key of its own, and at least as large. It is there
        whole or not at all. Raises `SizeDiffers`, `ChainTooLong`, `VolumeMissing` without snapshot.
        """
        with self._servers.disks.held(disk_id):
            self._pool.create(cloning.header_of_clone(self._directory, snapshot_id, header))

    def recover(self, disk_id: str) -> list[FoundSnapshot]:
        """Make sure that all a disk consists of is there; gives its snapshots, oldest first.

        For a disk without a record. Raises `VolumeBusy`, `HeaderInvalid` for what is not whole.
        """
        with self._unserved(disk_id):
            return recovery.whole(self._directory, disk_id)

    def keys(self, disk_id: str) -> list[luks2.Header]:
        """A header for each data key that serving a disk needs: its own, then a clone's others."""
        return cloning.headers_with_keys(self._directory, disk_id)

    def delete(self, disk_id: str) -> None:
        """Delete a disk and its snapshots; what clones stand on stays for them, hidden.

        Of a clone what it was the last to stand on goes too. Raises `VolumeBusy` while the disk is
        served.
        """
        below = self._stands_on(disk_id)
        with self._unserved(disk_id):
            self._pool.delete(disk_id)
            removal.hide_all(self._directory, disk_id)
        self._sweep(disk_id)
        for other in below:
            with _told("a deleted disk's layer stays", other):
                self._sweep(other)

    def _stands_on(self, disk_id: str) -> set[str]:
        """The other disks of which a clone has layers, where they can be told."""
        with suppress(PoolError):
            return {header.uuid for header in self.keys(disk_id)} - {disk_id}
        return set()

    def sweep(self) -> None:
        """Finish what was interrupted, and what was deferred and can be done by now.

        After evsd has started, a disk was detached, or one was deleted.
        """
        if self._unfinished:
            self._finish_all()
        for disk_id in removal.with_hidden(self._directory):
            with _told("a deleted snapshot's layer stays", disk_id):
                self._sweep(disk_id)
        with _told("what was given up stays", ""):
            removal.destroy_given_up(self._directory)

    def _finish_all(self) -> None:
        self._unfinished = False
        for disk_id in recovery.unfinished(self._directory):
            with _told("a snapshot is not finished yet", disk_id), self._held(disk_id) as control:
                self._finish(disk_id, control, goes_on=True)
        self._unfinished |= bool(recovery.unfinished(self._directory))

    def has_hidden(self) -> bool:
        """Whether layers of deleted snapshots are left."""
        return bool(removal.with_hidden(self._directory))

    def has_begun(self, snapshot_id: str) -> bool:
        """Whether there is anything of a snapshot."""
        return snapshot_path(self._directory, snapshot_id).exists()

    def top(self, disk_id: str) -> str:
        """Which layer of a disk is written to; a roll back gives it another."""
        return read(volume_path(self._directory, disk_id)).header.own_layer

    def strays(self, disk_ids: Set[str]) -> list[str]:
        """The names of files that are layers of none of these disks."""
        return removal.strays(self._directory, disk_ids)

    def usage(self, disk_id: str) -> list[LayerUsage]:
        """What each layer of a disk takes, the one that is written to first."""
        return usage.of(self._directory, disk_id)

    def usage_of(self, disk_ids: Set[str]) -> list[tuple[LayerUsage, int]]:
        """Of all layers of these disks, each with what comes back if its snapshot is deleted."""
        return usage.of_disks(self._directory, disk_ids)

    def alone(self, disk_id: str) -> AbstractContextManager[None]:
        """For who changes a disk's file itself: no server is started and nothing merged meanwhile.

        A merge that is under way gives way.
        """
        return self._servers.disks.held(disk_id)

    @contextmanager
    def _held(self, disk_id: str) -> Iterator[ServerControl | None]:
        with self._servers.disks.held(disk_id):
            yield self._servers.control(disk_id)

    @contextmanager
    def _unserved(self, disk_id: str) -> Iterator[None]:
        with self._held(disk_id) as control:
            if control is not None:
                raise VolumeBusy("a server has it")
            yield

    def _sweep(self, disk_id: str) -> list[Layer]:
        disks = self._servers.disks
        with disks.held(disk_id):
            return removal.sweep(self._directory, disk_id, lambda: disks.wanted(disk_id))

    def _finish(self, disk_id: str, control: ServerControl | None, *, goes_on: bool) -> None:
        """Of a snapshot that was interrupted: what its server has already can't be undone."""
        if control is None:
            recovery.finish(self._directory, disk_id)
            return
        top = read(volume_path(self._directory, disk_id)).header
        if top.frozen_by and (goes_on or control.status().layer_id != top.own_layer):
            self._take(disk_id, top.frozen_by, control)
        else:
            making.give_up(self._directory, disk_id)

    def _take(self, disk_id: str, snapshot_id: str, control: ServerControl | None) -> None:
        switch = [] if control is None else [control.switch]
        self._with_room(making.take, disk_id, snapshot_id, *switch)

    def _with_room(self, make: Callable[..., T], disk_id: str, *others: object) -> T:
        """A sweep gives way to who wants the disk; what it has not done may be the room for one."""
        try:
            return make(self._directory, disk_id, *others)
        except ChainTooLong:
            removal.sweep(self._directory, disk_id)
            return make(self._directory, disk_id, *others)


@contextmanager
def _told(event: str, disk_id: str) -> Iterator[None]:
    """One that fails must not keep evsd from all others."""
    try:
        yield
    except (PoolError, ServerFailed) as error:
        log.warning(event, disk=disk_id, reason=str(error))
