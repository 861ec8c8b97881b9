"""Running the tools that do the work: qemu-img, cryptsetup, nbdcopy and zstd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from evsd.images.errors import ToolFailed, ToolMissing

Progress = Callable[[int], None]
PACKAGES = {
    "qemu-img": "qemu-utils",
    "cryptsetup": "cryptsetup-bin",
    "nbdcopy": "libnbd-bin",
    "zstd": "zstd",
}
KILLED_WITH_PARENT = ("/usr/bin/setpriv", "--pdeathsig", "KILL")


@dataclass
class _Tool:
    output: IO[bytes]
    said: str = ""  # on standard error, once it has ended


def run(words: list[str], *, descriptors: Iterable[int] = ()) -> str:
    """Run a tool to its end; returns what it printed. Raises `ToolFailed`, `ToolMissing`."""
    return ask(words, descriptors=descriptors)[0]


def ask(
    words: list[str], *, descriptors: Iterable[int] = (), accepted: Collection[int] = (0,)
) -> tuple[str, str]:
    """As `run`, with what it said on standard error; other exit statuses may be answers too."""
    with _running(words, descriptors, accepted=accepted) as tool:
        printed = tool.output.read().decode(errors="replace")
    return printed, tool.said


def lines(words: list[str], *, descriptors: Iterable[int] = ()) -> Iterator[bytes]:
    """What a tool prints, which may be much; to be read to the end."""
    with _running(words, descriptors) as tool:
        yield from tool.output


def stream(words: list[str], piece: int, *, stdin: int | None = None) -> Iterator[bytes]:
    """What a tool makes, in pieces of so many bytes at most; to be read to the end."""
    with _running(words, (), stdin=stdin) as tool:
        while data := tool.output.read(piece):
            yield data


def copy(words: list[str], progress: Progress, *, descriptors: Iterable[int] = ()) -> str:
    """Run ``qemu-img convert -p`` and pass on the percents it prints; returns its warnings."""
    with _running(words, descriptors) as tool:
        while part := os.read(tool.output.fileno(), 4096):
            if found := re.findall(rb"\((\d+)\.\d+/100%\)", part):
                progress(int(found[-1]))
    return tool.said


@contextmanager
def _running(
    words: list[str],
    descriptors: Iterable[int],
    *,
    accepted: Collection[int] = (0,),
    stdin: int | None = None,
) -> Iterator[_Tool]:
    """A running tool; it has ended after the block.

    In a session of its own: Ctrl-C is for us, who then end it. Where we are killed it is too, or it
    would go on writing to a volume that is nobody's any more. Secrets go by descriptor, never
    as words or environment. Raises `ToolFailed` where it fails, `ToolMissing` where it is missing.
    """
    path = shutil.which(words[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise ToolMissing(words[0], PACKAGES[words[0]])
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603
            [*KILLED_WITH_PARENT, path, *words[1:]],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=tuple(descriptors),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        tool = _Tool(process.stdout)
        try:
            yield tool
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        errors.seek(0)
        tool.said = errors.read().decode(errors="replace").strip()
        if process.returncode not in accepted:
            raise ToolFailed(words[0], process.returncode, tool.said)
