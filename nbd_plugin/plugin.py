"""The script nbdkit loads: serves one encrypted volume.

::

    nbdkit --foreground --unix SOCKET --threads 4 [--readonly] .../front.so .../plugin.py
        file=PATH            the volume, a file or a block device
        attachment=ID        whose server this is
        release_socket=PATH  where the key service listens
        ticket_fd=N          inherited descriptor to read the ticket from: argv is public
        [clients_fd=N]       inherited descriptor of a file: who is connected, see `clients`; the
                             socket's directory then says who may connect
        [device=NAME]        export name under which the host's device connects, which alone may
                             write

The data key is here while clients are connected: the first connection asks for it, the close of
the last one wipes it, the next one asks again and is refused if the key may not be used then.
This module is the slow path only: requests go to `native/`, by way of the front (`native/front.h`)
or, with `python` in its place, of the functions of `_datapath`.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import os
import stat
import sys
from _thread import allocate_lock  # `threading` costs 1 ms and 0.5 MB in every server
from types import TracebackType

import nbdkit  # type: ignore[import-not-found]

# nbdkit runs this file as a script and leaves its package out of the path.
sys.path.insert(0, __file__.rpartition("/nbd_plugin/")[0] or ".")

from nbd_plugin import _datapath, luks2, release, sockets
from nbd_plugin._datapath import (  # noqa: F401, nbdkit looks them up here
    cache,
    extents,
    flush,
    pread,
    pwrite,
    trim,
    zero,
)
from nbd_plugin.clients import Client, Clients

API_VERSION = 2

MINIMUM_BLOCK = 1  # libnbd's nbdinfo and nbdcopy fail on larger ones where a volume has 4 GiB
MAXIMUM_REQUEST = 32 * 1024 * 1024  # nbdkit's own is 64 MiB; the protocol's default is 32
TICKET_LIMIT = 4096

_REPLACED = "it was replaced, or closed to this server: detach and attach"
_KEYS = ("file", "attachment", "release_socket", "ticket_fd")
_OPTIONAL_KEYS = ("clients_fd", "device")
# The mode of a socket is 777 without these bits, and in a directory with a default ACL the bits of
# the group limit what the ACL gives. Elsewhere there is nobody to be let in.
_SOCKET_UMASK, _UMASK = 0o007, 0o077


class ServerError(Exception):
    """The volume can't be served; `number` is the errno the client gets."""

    def __init__(self, message: str, number: int = errno.EIO) -> None:
        super().__init__(message)
        self.number = number


class Server:
    """The volume, and how many connections it has."""

    clients: Clients

    def __init__(self) -> None:
        self.options: dict[str, str] = {}
        self.size = 0
        self.thin = False
        self.is_file = False
        self.read_only = False
        self._ticket = ""
        self._connections = 0
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        # Opening and closing are rare: one lock makes each of them a single step.
        self._lock = allocate_lock()

    def prepare(self) -> None:
        """Take the ticket, and refuse a broken volume before anybody connects."""
        missing = [key for key in _KEYS if key not in self.options]
        if missing:
            raise ServerError(f"{missing[0]}= is missing")
        self._ticket = _read_ticket(self.options["ticket_fd"])
        report = int(self.options.get("clients_fd", "-1"))
        self.clients = Clients(report, has_device="device" in self.options)
        fd = self._open(os.O_RDONLY)
        try:
            _read_header(fd)
        finally:
            os.close(fd)

    def connect(self, name: str, read_only: bool) -> Client:
        """Count a connection; the first one gets the key. A failed one leaves nothing behind."""
        pid, uid = _datapath.peer()
        client = Client(pid, uid, device=bool(name) and name == self.options.get("device"))
        with self._lock:
            if self._connections == 0:
                self._start(read_only)
            self._connections += 1
        self.clients.add(client, read_only=read_only)
        return client

    def disconnect(self, client: Client) -> None:
        """The last one writes what is not yet on disk, and wipes the key."""
        self.clients.remove(client)  # first: it has gone, whatever its flush takes
        with self._lock:
            self._connections -= 1
            if self._connections == 0:
                self._stop()

    def end(self) -> None:
        """As if every connection had been closed."""
        with self._lock:
            if self._connections:
                self._connections = 0
                self._stop()

    def _start(self, read_only: bool) -> None:
        mode = os.O_RDONLY if read_only else os.O_RDWR
        self._fd = self._open(mode)
        try:
            _lock(self._fd, read_only)
            header = _read_header(self._fd)
            self._get_key(header)
            _datapath.set_volume(self._fd, luks2.DATA_OFFSET, header.size, header.thin)
        except BaseException:
            _datapath.wipe()
            os.close(self._fd)
            raise
        self.size, self.thin, self.read_only = header.size, header.thin, read_only
        self.is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        _datapath.trim_memory()

    def _open(self, mode: int) -> int:
        """The volume this server was started for: after a restore its name may have another."""
        path = self.options["file"]
        try:
            fd = os.open(path, mode | os.O_CLOEXEC)
        except OSError as error:
            # The sandbox, where there is one, knows the file and not its name.
            remedy = f": {_REPLACED}" if error.errno == errno.EACCES else ""
            message = f"{path}: {error.strerror}{remedy}"
            raise ServerError(message, error.errno or errno.EIO) from None
        status = os.fstat(fd)
        identity = status.st_dev, status.st_ino
        if self._identity not in (None, identity):
            os.close(fd)
            raise ServerError(f"{path}: {_REPLACED}", errno.EACCES)
        self._identity = identity
        return fd

    def _get_key(self, header: luks2.Header) -> None:
        attachment = self.options["attachment"]
        public_key = _datapath.new_release_key()
        request: dict[str, object] = {
            "attachment_id": attachment,
            "ticket": self._ticket,
            "public_key": public_key.hex(),
            "volume_id": header.uuid,
            "cmk_id": header.cmk_id,
            "wrapped_dek": binascii.b2a_base64(header.wrapped_dek, newline=False).decode(),
            "context": header.context,
        }
        encapsulated, sealed = release.ask(self.options["release_socket"], request)
        try:
            _datapath.unseal(encapsulated, sealed, release.RELEASE_INFO + attachment.encode())
        except ValueError as error:
            raise ServerError(f"the key service's answer can't be used: {error}") from None
        if not _datapath.verify_digest(header.digest_salt, header.digest_iterations, header.digest):
            raise ServerError("the key service released another key than this volume's")

    def _stop(self) -> None:
        try:
            if not self.read_only:
                flush(None, 0)
        finally:
            _datapath.wipe()
            os.close(self._fd)


def _read_ticket(number: str) -> str:
    try:
        fd = int(number)
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            ticket = b""
            while part := pipe.read(TICKET_LIMIT):
                ticket += part
                if len(ticket) > TICKET_LIMIT:
                    raise ServerError("the ticket is too long")
    except (ValueError, OSError):
        raise ServerError(f"ticket_fd={number} can't be read") from None
    if not ticket:
        raise ServerError("there was no ticket in ticket_fd: whoever started this is gone")
    try:
        return bytes.fromhex(ticket.decode()).hex()
    except ValueError:
        raise ServerError("the ticket is not hexadecimal") from None


def _lock(fd: int, read_only: bool) -> None:
    """Two servers of one file would undo each other's writes inside a sector."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise ServerError(f"the volume can't be locked: {error.strerror}") from None
        raise ServerError("another server is serving this volume", errno.EBUSY) from None


def _read_header(fd: int) -> luks2.Header:
    """The header of a whole volume; raises `ServerError` for a broken or truncated one."""
    try:
        header = luks2.read(fd)
        length = os.lseek(fd, 0, os.SEEK_END)  # of a block device too
    except luks2.HeaderError as error:
        raise ServerError(f"the volume is refused: {error}") from None
    except OSError as error:
        raise ServerError(f"the volume can't be read: {error.strerror}") from None
    if length < luks2.DATA_OFFSET + header.size:
        raise ServerError(
            f"the volume is truncated: {length} bytes, not {luks2.DATA_OFFSET + header.size}"
        )
    return header


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

_server = Server()


# nbdkit's callbacks, see nbdkit-python-plugin(3).


def config(key: str, value: str) -> None:
    """Take one key=value of the command line."""
    known = _KEYS + _OPTIONAL_KEYS
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
