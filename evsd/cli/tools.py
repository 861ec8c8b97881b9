"""Running the tools that do the work: qemu-img and cryptsetup."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from evsd.cli.errors import Refused

Progress = Callable[[int], None]
PACKAGES = {"qemu-img": "qemu-utils", "cryptsetup": "cryptsetup-bin"}


class ToolFailed(Exception):
    """A tool ended with an error; the message is the last line of what it said."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def run(words: list[str], *, descriptors: Iterable[int] = ()) -> str:
    """Run a tool to its end; returns what it printed. Raises `ToolFailed`, `Refused`."""
    with _running(words, descriptors) as output:
        return output.read().decode(errors="replace")


def copy(words: list[str], progress: Progress, *, descriptors: Iterable[int] = ()) -> None:
    """Run ``qemu-img convert -p``, and pass on the percents it prints."""
    with _running(words, descriptors) as output:
        while part := os.read(output.fileno(), 4096):
            if found := re.findall(rb"\((\d+)\.\d+/100%\)", part):
                progress(int(found[-1]))


@contextmanager
def _running(words: list[str], descriptors: Iterable[int]) -> Iterator[IO[bytes]]:
    """A running tool's output; it has ended after the block.

    In a session of its own: Ctrl-C is for us, who then end it. Secrets go by descriptor, never
    as words or environment. Raises `ToolFailed` where it fails, `Refused` where it is missing.
    """
    path = shutil.which(words[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Refused("", f"{words[0]} is not installed", f"apt-get install {PACKAGES[words[0]]}")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=tuple(descriptors),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield process.stdout
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if process.returncode != 0:
            errors.seek(0)
            raise ToolFailed(_last_line(errors.read(), words[0]), process.returncode)


def _last_line(errors: bytes, tool: str) -> str:
    lines = errors.decode(errors="replace").strip().splitlines() or ["it ended without a word"]
    return f"{tool}: {lines[-1].removeprefix(f'{tool}: ')}"


def by_descriptor(descriptor: int) -> str:
    """A path by which a tool that inherits the descriptor opens the same file."""
    return f"/proc/self/fd/{descriptor}"
