"""A file that is made under another name, so that nothing half-made is ever taken for the whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.durable import sync
from evsd.images.errors import ImageError


@contextmanager
def new_file(
    target: Path, *, replace: bool, committing: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """A file beside `target` that takes its place at the end of the block, or is removed.

    Without `replace` a file that exists is refused. `committing` is called when all is on disk:
    from then on nothing would be undone.
    """
    _refuse_existing(target, replace=replace)
    try:
        descriptor, name = tempfile.mkstemp(".partial", f".{target.name[:200]}.", target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    partial = Path(name)
    try:
        yield partial
        # Of this descriptor: one opened now would not hear of a failure that a tool's own flush
        # has consumed, and not told.
        os.fsync(descriptor)
        _refuse_existing(target, replace=replace)  # one that came meanwhile
        committing()
        partial.replace(target)
        sync(target.parent)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _refuse_existing(target: Path, *, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_file():  # nor a link to one
        remedy = "standard output is called -" if target == Path("/dev/stdout") else ""
        raise ImageError(target, "is not a regular file", remedy)
    if not replace:
        raise ImageError(target, "exists", "--force replaces it")
