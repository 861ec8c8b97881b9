"""Why a volume is not served."""

from __future__ import annotations

import errno


class ServerError(Exception):
    """The volume can't be served; `number` is the errno the client gets."""

    def __init__(self, message: str, number: int = errno.EIO) -> None:
        super().__init__(message)
        self.number = number


class VolumeFrozen(ServerError):
    """A snapshot has frozen its file, and the layer to write to instead was not handed over yet."""

    def __init__(self) -> None:
        super().__init__("the volume's file is a snapshot's, which nobody writes to", errno.EROFS)
