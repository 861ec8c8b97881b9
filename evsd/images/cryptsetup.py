"""Running cryptsetup: it makes, opens and changes all LUKS headers."""

from __future__ import annotations

from collections.abc import Iterable

from evsd.images import tools
from evsd.images.errors import ToolFailed, WrongPassphrase

XTS = "aes-xts-plain64"
NO_SUCH_KEY = 2  # its exit status for a wrong passphrase


def cryptsetup(*words: str, descriptors: Iterable[int] = ()) -> str:
    """Run it to its end; returns what it printed. Raises `ToolFailed`, `WrongPassphrase`."""
    try:
        return tools.run(["cryptsetup", "--batch-mode", *words], descriptors=descriptors)
    except ToolFailed as error:
        if error.status == NO_SUCH_KEY:
            raise WrongPassphrase from error
        raise
