"""What a pool is: the place where the ciphertext of volumes is kept, and what it refuses with.

A directory of files is one (`evsd.pools.file`); block devices and RBD images can be others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nbd_plugin import luks2


class PoolError(Exception):
    """A pool could not do something; its text says why."""


class VolumeMissing(PoolError):
    """It has nothing under this id."""


class VolumeBusy(PoolError):
    """A server has the volume open, or some other program."""


class PoolFull(PoolError):
    """There is no space, or no quota, left."""


class PoolReadOnly(PoolError):
    """It is on a filesystem that takes no writes."""


class HeaderInvalid(PoolError):
    """What a volume begins with is no header of a volume, or not of this one."""


class SizeDiffers(HeaderInvalid):
    """A volume has another size than its record; `held` is what its header says, in bytes."""

    def __init__(self, held: int, recorded: int) -> None:
        super().__init__(
            f"the file holds {held} bytes, its record says {recorded}: records and pool are of "
            "different times"
        )
        self.held = held


class Untouched(PoolError):
    """An operation was refused before it changed anything; `cause` says why."""

    def __init__(self, cause: PoolError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Pool(Protocol):
    """Volumes by their ids. All methods raise `PoolError`; an operation that failed may be redone.

    The pool itself says how far an operation on a volume came, whatever the records say: they may
    be from a backup.
    """

    @property
    def place(self) -> Path:
        """Where it is, for messages."""

    def path(self, volume_id: str) -> Path:
        """What the volume's server opens."""

    def create(self, header: luks2.Header) -> None:
        """Make a volume: there whole, on disk, or not at all; of a thick one nothing is settled."""

    def grow(self, volume_id: str, before: int, size: int, *, again: bool = False) -> int:
        """Begin to make a volume of `before` bytes one of `size`; `settle` or `shrink` ends it.

        Returns where the new part begins: at `size` if that is settled already, as it may be
        `again`, after a try that was interrupted or failed. Raises `Untouched` by what keeps it
        from beginning: by `SizeDiffers`, too, where the volume is not what the caller takes it
        for: a record from an old backup must not cut off data.
        """

    def grow_served(self, volume_id: str, before: int, size: int) -> None:
        """Make a thin volume of `before` bytes one of `size`, while a server may have it.

        Nothing is filled, so all of it is settled at once. The server's clients go on with the old
        size until the last of them has gone. It may be done again. Raises `Untouched`, as `grow`.
        """

    def settle(self, volume_id: str) -> None:
        """Note that what `create` or `grow` added is whole, and on disk."""

    def shrink(self, volume_id: str) -> int:
        """Take back what `grow` added, or began to add, and is not settled; returns the size."""

    def delete(self, volume_id: str) -> None:
        """Remove the volume, its wrapped key first, and what is left of an interrupted operation.

        Raises `VolumeBusy` while a server has it.
        """

    def names(self) -> set[str]:
        """The names of all that is there, whole or not."""

    def is_left_over(self, name: str) -> bool:
        """Whether something of this name is what an interrupted operation has left."""

    def whole(self, volume_id: str) -> luks2.Header | None:
        """The header of a volume that was whole once; None where there is certainly none."""

    def header(self, volume_id: str) -> luks2.Header:
        """What the volume says of itself; raises `VolumeMissing`, `HeaderInvalid`."""

    def header_area(self, volume_id: str) -> bytes:
        """All that is before the data: a header, and the keyslots that belong to it."""

    def restore_header(self, header: luks2.Header, keyslots: bytes, size: int) -> None:
        """Write a header from a backup, and what belongs behind its two copies.

        The volume has `size` bytes; if its own header says more, that counts.
        """

    def unused_header(self, volume_id: str) -> luks2.Header:
        """What a whole volume that no server has open says of itself."""
