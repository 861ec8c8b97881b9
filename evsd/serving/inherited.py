"""What a server inherits: descriptors, for what it can't open or what no other may open for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from evsd.resource import Resource
from evsd.serving import control
from evsd.serving.key_releases import LayerKey

NO_CLIENTS = b'{"clients":[]}\n'
NEW = ".new"


class Inherited(Resource):
    """Descriptors and how the server is told of them; evsd's own are closed with the block.

    Files that only the process on record may have get their names with `place`: until then they
    may be those of another server, which serves.
    """

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.arguments: list[str] = []
        self._stack = ExitStack()
        self._places: dict[Path, Path] = {}

    def close(self) -> None:
        """The server has its own by now."""
        self._stack.close()

    def add(self, key: str, *descriptors: int) -> None:
        """What stays open as long as its caller wants."""
        self.descriptors += descriptors
        self.arguments.append(f"{key}={','.join(map(str, descriptors))}")

    def add_report(self, place: Path) -> None:
        """A file to report clients in. Raises OSError."""
        fd, name = tempfile.mkstemp(dir=place.parent, suffix=NEW)
        self._stack.callback(os.close, fd)
        self._places[Path(name)] = place
        with suppress(OSError):  # a full disk must not keep it from serving
            os.write(fd, NO_CLIENTS)  # takes the room that reports will need
        self.add("clients_fd", fd)

    def add_control(self, place: Path) -> None:
        """A socket on which it can be told something. Raises OSError."""
        made = place.with_name(place.name + NEW)
        self._places[made] = place
        listening = self._stack.enter_context(control.listening(made))
        self.add("control_fd", listening.fileno())

    def add_layers(self, layers: tuple[Path, ...], keys: Mapping[str, LayerKey]) -> None:
        """What the disk's file stands on, the highest first. Raises OSError."""
        descriptors = []
        for path in layers:
            descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            self._stack.callback(os.close, descriptors[-1])
        if descriptors:
            self.add("layer_fds", *descriptors)
        if keys:
            pairs = (f"{disk_id}={key.release_id}" for disk_id, key in keys.items())
            self.arguments.append(f"layer_releases={','.join(pairs)}")

    def place(self) -> None:
        """Give files their names."""
        for made, place in self._places.items():
            made.replace(place)
        self._places.clear()

    def discard(self) -> None:
        """Remove what has got no name."""
        for made in self._places:
            made.unlink(missing_ok=True)
        self._places.clear()
