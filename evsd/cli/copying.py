"""What import and export share: the volume while it is copied, and what is said of failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evsd.cli.attachments import attached
from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused, UsageProblem
from evsd.connector import ConnectorError
from evsd.images import FormatAmbiguous, ImageError, ToolFailed

GIB = 1024**3
STREAM = "-"
# Why an attach is refused that asks for the key: its state, no delegation, no key service.
KEY_UNUSABLE = ("EVS.2040", "EVS.2055", "KMS.0104")


@contextmanager
def attached_for_copy(api: Api, volume: Object, *, read_only: bool) -> Iterator[str]:
    """The volume's URI, for the block.

    A key that may not be used any more ends the volume's server, and the tool that copies hears
    of a lost connection. So then evsd is asked whether the volume can be attached: it names the
    key, its state and the remedy.
    """
    try:
        with attached(api, volume, read_only=read_only) as uri:
            yield uri
    except (ToolFailed, ConnectorError, OSError) as failure:
        try:
            with attached(api, volume, read_only=True):
                pass
        except Refused as error:
            if error.code in KEY_UNUSABLE:
                raise error from failure
        raise


@contextmanager
def failures_refused() -> Iterator[None]:
    """What an image, a tool or the filesystem could not do, as evsctl says it."""
    try:
        yield
    except FormatAmbiguous as error:
        raise UsageProblem(f"{error}: {error.remedy}") from error
    except (ToolFailed, ConnectorError) as error:
        raise Refused("", str(error), "nothing half-made was left") from error
    except ImageError as error:
        raise Refused("", str(error), error.remedy) from error
    except OSError as error:
        what = error.filename or "the copy failed"
        raise Refused("", f"{what}: {error.strerror or error}", "") from error
