"""nbdkit's callbacks, see nbdkit-python-plugin(3): all but those for data, which are compiled."""

from __future__ import annotations

import errno
import os
import sys

import nbdkit  # type: ignore[import-not-found]

from nbd_plugin import _datapath, luks2, release, sockets
from nbd_plugin.errors import ServerError
from nbd_plugin.server import KEYS, OPTIONAL_KEYS, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from nbd_plugin.clients import Client

API_VERSION = 2

MINIMUM_BLOCK = 1  # libnbd's nbdinfo and nbdcopy fail on larger ones where a volume has 4 GiB
MAXIMUM_REQUEST = 32 * 1024 * 1024  # nbdkit's own is 64 MiB; the protocol's default is 32

# The mode of a socket is 777 without these bits, and in a directory with a default ACL the bits of
# the group limit what the ACL gives. Elsewhere there is nobody to be let in.
_SOCKET_UMASK, _UMASK = 0o007, 0o077


_server = Server()


def config(key: str, value: str) -> None:
    """Take one key=value of the command line."""
    known = KEYS + OPTIONAL_KEYS
    if key not in known:
        raise ServerError(f"{key}= is unknown, there are {', '.join(known)}")
    if key in _server.options:
        raise ServerError(f"{key}= is given twice")
    # nbdkit changes to / when it goes into the background.
    is_path = key in ("file", "release_socket")
    _server.options[key] = os.path.abspath(value) if is_path else value  # noqa: PTH100


def config_complete() -> None:
    """Refuse to start without ticket or sound volume. The socket is made next."""
    _server.prepare()
    os.umask(_SOCKET_UMASK if "clients_fd" in _server.options else _UMASK)


def thread_model() -> int:
    """Requests run side by side, also of one connection."""
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def after_fork() -> None:
    """Protect the process that is going to hold a key."""
    os.umask(_UMASK)
    _datapath.hang_up_at_end()
    if not _datapath.harden():
        sys.stderr.write("nbdkit: RLIMIT_MEMLOCK is too low, only the key itself is locked\n")
    sockets.remember_descriptors()
    _datapath.hand_over()
    if not _datapath.confine(os.fsencode(_server.options["file"])):
        sys.stderr.write("nbdkit: the kernel has no Landlock: the server is not confined\n")
    _server.listen()
    _datapath.trim_memory()


def open(readonly: bool) -> object:  # noqa: A001
    """Connect."""
    try:
        client = _server.connect(nbdkit.export_name(), readonly)
    except release.KeyRefused:
        nbdkit.set_error(errno.EACCES)
        raise
    except ServerError as error:
        nbdkit.set_error(error.number)
        raise
    sockets.widen()
    return client


def close(client: Client) -> None:
    """Disconnect."""
    _server.disconnect(client)


def cleanup() -> None:
    """End; nbdkit 1.32 calls no close() for connections that are there when it is stopped."""
    _server.end()


def get_size(_: Client) -> int:
    """The volume's size in bytes."""
    return _server.size


def block_size(_: Client) -> tuple[int, int, int]:
    """Any offset works; whole sectors are fastest."""
    return MINIMUM_BLOCK, luks2.SECTOR_SIZE, MAXIMUM_REQUEST


def is_rotational(_: Client) -> bool:
    """Let clients not sort their requests."""
    return False


def can_write(client: Client) -> bool:
    """Whether the attachment is for writing, and by this client."""
    return client.writes


def can_flush(_: Client) -> bool:
    """`flush` is fdatasync."""
    return True


def can_fua(_: Client) -> int:
    """Writing, trimming and zeroing sync by themselves when asked to."""
    return int(nbdkit.FUA_NATIVE)


def can_trim(_: Client) -> bool:
    """A hole would show where a thick volume is empty."""
    return _server.thin


def can_zero(_: Client) -> bool:
    """Zeros are made here and not sent: a thick volume encrypts them."""
    return True


def can_fast_zero(_: Client) -> bool:
    """A fast zero that can't be fast is refused with ENOTSUP, as it should."""
    return True


def can_extents(_: Client) -> bool:
    """Only a thin volume in a file has holes that can be found."""
    return _server.thin and _server.is_file


def can_cache(_: Client) -> int:
    """`cache` reads ahead into the page cache."""
    return int(nbdkit.CACHE_NATIVE)


def can_multi_conn(_: Client) -> bool:
    """All connections share one descriptor: a flush on one is fdatasync for the writes of all."""
    return True


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType) -> list[str]:
    """Format an exception; only one that nobody foresaw says where it comes from."""
    if isinstance(error, (ServerError, release.ReleaseError, OSError)):
        return [str(error)]
    while trace.tb_next:
        trace = trace.tb_next
    return [f"{kind.__name__}: {error} ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"]


# nbdkit logs exceptions through the traceback module, several lines each, and imports it for that
# at the first failed request. With this in its place one error is one line of the log.
_traceback = type(sys)("traceback")
vars(_traceback)["format_exception"] = _one_line
sys.modules["traceback"] = _traceback
