"""What is imported, as bytes: a file, opened once and looked at by descriptor, or an NBD export."""

from __future__ import annotations

import json
import os
import shlex
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evsd.connector.reading import Reader, reader
from evsd.images.errors import ImageError
from evsd.images.memory_file import fd_path, memory_file

SECTOR = 512
HEAD_LENGTH = 128 * 1024  # whatever tells what a file is stands in it, or in the last sector


class Image(ABC):
    """What may be an image, open: `path` is what people call it, `length` is in bytes."""

    path: Path
    length: int

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """What there is of it at this place; less where it ends."""

    @property
    @abstractmethod
    def block_node(self) -> dict[str, Any]:
        """How qemu opens its bytes, by the options of a block driver."""

    @property
    def descriptors(self) -> list[int]:
        """What a tool has to inherit for `block_node`."""
        return []

    @abstractmethod
    def is_called(self, name: str) -> bool:
        """Whether a tool that was given `block_node` means these very bytes by a name."""

    @abstractmethod
    def in_words(self, said: str) -> str:
        """What a tool said, with `path` for its own name of it."""

    @property
    def tail(self) -> bytes:
        """Its last 512 bytes, where some formats have their mark."""
        return self.read(max(0, self.length - SECTOR), SECTOR)

    @property
    def quoted(self) -> str:
        """Its name as the shell takes it."""
        return shlex.quote(str(self.path))


@dataclass(frozen=True, slots=True)
class ImageFile(Image):
    """A file of this host."""

    path: Path
    length: int
    descriptor: int
    changed_at: int  # its mtime, in ns
    closed_with_it: ExitStack

    def read(self, offset: int, length: int) -> bytes:
        """What there is of it at this place; less where the file ends."""
        found = b""
        while part := os.pread(self.descriptor, length - len(found), offset + len(found)):
            found += part
        return found

    @property
    def block_node(self) -> dict[str, Any]:
        """By descriptor: no other file is ever opened under its name."""
        return {"driver": "file", "filename": fd_path(self.descriptor)}

    @property
    def descriptors(self) -> list[int]:
        """Its own."""
        return [self.descriptor]

    def is_called(self, name: str) -> bool:
        """By the path of its descriptor."""
        return name == fd_path(self.descriptor)

    def in_words(self, said: str) -> str:
        """Its path for that of its descriptor."""
        return said.replace(fd_path(self.descriptor), str(self.path))

    def keep(self, passphrase: bytes) -> int:
        """A descriptor by which tools read the passphrase, for as long as the image is open."""
        return self.closed_with_it.enter_context(memory_file(passphrase))

    def changed(self) -> ImageError:
        """That it was written while it was read: it has never been what was copied."""
        return ImageError(
            self.path,
            "was changed while it was imported",
            "let what writes it end, a virtual machine or a download, and import it again",
        )

    def refuse_changed(self) -> None:
        """Refuse a file that is not what it was when it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.length, self.changed_at):
            raise self.changed()


@dataclass(frozen=True, slots=True)
class ServedImage(Image):
    """The first `length` bytes of an NBD export on a unix socket, which nobody writes to."""

    path: Path
    length: int
    socket: Path
    _reader: Reader

    def read(self, offset: int, length: int) -> bytes:
        """What there is of it at this place; less where it ends."""
        return self._reader.read(offset, max(0, min(length, self.length - offset)))

    @property
    def block_node(self) -> dict[str, Any]:
        """As long as it is: an export has whole blocks, and some formats have a mark at the end."""
        export = {"driver": "nbd", "server": {"type": "unix", "path": str(self.socket)}}
        return {"driver": "raw", "size": -(-self.length // SECTOR) * SECTOR, "file": export}

    def is_called(self, name: str) -> bool:
        """By the socket, whose name no image can know."""
        try:
            file = json.loads(name.removeprefix("json:")).get("file", {})
        except (ValueError, AttributeError, RecursionError):
            return False
        return isinstance(file, dict) and file.get("server.path") == str(self.socket)

    def in_words(self, said: str) -> str:
        """Its name for that of the socket."""
        return said.replace(str(self.socket), str(self.path))


@contextmanager
def served_image(name: str, socket: Path, length: int) -> Iterator[ServedImage]:
    """An image in the first `length` bytes of an export, for the block; messages call it `name`.

    Raises `ConnectorError`, OSError.
    """
    if length == 0:
        raise ImageError(name, "is empty")
    with reader(socket) as opened:
        yield ServedImage(Path(name), length, socket, opened)


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """The image at this path, for the block; refuses what is no regular file, raises OSError."""
    # Not blocking: a FIFO is refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(path, "is not a regular file")
        if status.st_size == 0:
            raise ImageError(path, "is empty")
        yield ImageFile(path, status.st_size, descriptor, status.st_mtime_ns, stack)
