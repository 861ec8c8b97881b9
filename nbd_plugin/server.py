"""The volume that is served: its key is here while clients are connected.

The first connection asks for the data key, the close of the last one wipes it, the next one asks
again and is refused if the key may not be used then.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import os
import stat
import time
from _thread import RLock  # `threading` costs 1 ms and 0.5 MB in every server

from nbd_plugin import _datapath, control, luks2, release, ticket
from nbd_plugin.clients import Client, Clients
from nbd_plugin.errors import ServerError, VolumeFrozen
from nbd_plugin.layers import Layers, require_above
from nbd_plugin.volume_file import lock, read_header

KEYS = ("file", "attachment", "release_socket", "ticket_fd")
OPTIONAL_KEYS = ("clients_fd", "device", "layer_fds", "layer_releases", "control_fd")

# Between marking a file frozen and handing over the layer above there are milliseconds.
_SNAPSHOT_TIMEOUT_S, _SNAPSHOT_STEP_S = 5.0, 0.005
_REPLACED = "it was replaced, or closed to this server: detach and attach"


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
        self._switched_to = -1  # a layer that was handed over: it can't be opened by its name
        self._layers = Layers()
        self._identity: tuple[int, int] | None = None
        # Opening and closing are rare: one lock makes each of them a single step.
        self._lock = RLock()
        self._holds = False  # whether requests wait, by the thread that has the lock

    def prepare(self) -> None:
        """Take the ticket, and refuse a broken volume before anybody connects."""
        missing = [key for key in KEYS if key not in self.options]
        if missing:
            raise ServerError(f"{missing[0]}= is missing")
        self._ticket = ticket.read(self.options["ticket_fd"])
        report = int(self.options.get("clients_fd", "-1"))
        self.clients = Clients(report, has_device="device" in self.options)
        try:
            self._layers = Layers(
                self.options.get("layer_fds", ""), self.options.get("layer_releases", "")
            )
        except (OSError, ValueError) as error:
            raise ServerError(f"the layers of the volume can't be used: {error}") from None
        fd = self._open(os.O_RDONLY)
        try:
            self._read_header(fd)
        finally:
            os.close(fd)

    def listen(self) -> None:
        """Let whoever started this control it; not before it is confined."""
        if "control_fd" in self.options:
            control.start(int(self.options["control_fd"]), self._ticket, self)

    def connect(self, name: str, read_only: bool) -> Client:
        """Count a connection; the first one gets the key. A failed one leaves nothing behind."""
        pid, uid = _datapath.peer()
        client = Client(pid, uid, device=bool(name) and name == self.options.get("device"))
        deadline = time.monotonic() + _SNAPSHOT_TIMEOUT_S
        while not self._try_to_join(read_only, last=time.monotonic() > deadline):
            time.sleep(_SNAPSHOT_STEP_S)
        self.clients.add(client, read_only=read_only)
        return client

    def _try_to_join(self, read_only: bool, *, last: bool) -> bool:
        """False while a snapshot is being taken: its new layer is about to be handed over."""
        with self._lock:
            try:
                if self._connections == 0:
                    self._start(read_only)
            except VolumeFrozen:
                if last:
                    raise
                return False
            self._connections += 1
            return True

    def disconnect(self, client: Client) -> None:
        """The last one writes what is not yet on disk, and wipes the key."""
        self.clients.remove(client)  # first: it has gone, whatever its flush takes
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        if self._connections:
            self._connections -= 1
            if self._connections == 0:
                self._stop()

    def end(self) -> None:
        """As if every connection had been closed."""
        with self._lock:
            if self._connections:
                self._connections = 0
                self._stop()

    def switch(self, fd: int) -> None:
        """Write to a new layer over the volume's file from now on. Asked twice, it is done once."""
        with self._lock:
            current = self._current()
            try:
                top, header = self._read_header(current), luks2.read(fd)
                if header.own_layer != top.own_layer:
                    require_above(fd, header, top)
                    self._write_to(os.dup(fd), header)
            finally:
                os.close(current)

    def _write_to(self, fd: int, header: luks2.Header) -> None:
        """`fd` is the server's own."""
        if self._connections:
            try:
                lock(fd, self.read_only)
                _datapath.switch_layer(fd, luks2.DATA_OFFSET, header.size)
            except BaseException:
                os.close(fd)
                raise
            frozen, self._fd, self.size = self._fd, fd, header.size  # requests use these two
        else:
            frozen = self._current()
        if self._switched_to >= 0:
            os.close(self._switched_to)
        self._switched_to = os.dup(fd) if self._connections else fd
        self._layers.push(frozen)

    def hold(self) -> None:
        """Let clients' requests wait until `release`, on the thread that calls that, too."""
        self._lock.acquire()
        self._holds = bool(self._connections)
        if self._holds:
            _datapath.hold()

    def release(self) -> None:
        """Let them go on."""
        if self._holds:
            self._holds = False
            _datapath.let_go()
        self._lock.release()

    def grow(self) -> None:
        """Serve what was added to the volume, to connections made from now on."""
        with self._lock:
            header = self._current_header()
            if header.settled < header.size:
                raise ServerError("what was added to the volume is not whole yet")
            if self._connections and header.size > self.size:
                _datapath.grow(header.size)
                self.size = header.size

    def flush(self) -> None:
        """Wait until everything written so far is on disk; as one more connection meanwhile."""
        with self._lock:
            if not self._connections:
                return
            self._connections += 1
        try:
            _datapath.flush(None, 0)
        finally:
            with self._lock:
                self._leave()

    def status(self) -> dict[str, object]:
        """Which layer is written to, and its size."""
        with self._lock:
            header = self._current_header()
            return {"layer_id": header.own_layer, "size": header.size}

    def _current(self) -> int:
        """The file that is written to, to be closed by the caller."""
        return os.dup(self._fd) if self._connections else self._open(os.O_RDONLY)

    def _current_header(self) -> luks2.Header:
        current = self._current()
        try:
            return self._read_header(current)
        finally:
            os.close(current)

    def _start(self, read_only: bool) -> None:
        mode = os.O_RDONLY if read_only else os.O_RDWR
        self._fd = self._open(mode)
        try:
            lock(self._fd, read_only)
            header = self._read_header(self._fd)
            if header.frozen_by and not read_only:
                raise VolumeFrozen
            self._get_keys(header)
            self._serve(header)
        except BaseException:
            _datapath.wipe()
            os.close(self._fd)
            raise
        self.size, self.thin, self.read_only = header.size, header.thin, read_only
        self.is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        _datapath.trim_memory()

    def _open(self, mode: int) -> int:
        """The volume this server was started for: after a restore its name may have another."""
        if self._switched_to >= 0:
            return os.dup(self._switched_to)
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

    def _read_header(self, fd: int) -> luks2.Header:
        """The header of a whole volume; raises `ServerError` for a broken or truncated one."""
        header = read_header(fd)
        try:
            self._layers.check(header)
        except luks2.HeaderError as error:
            raise ServerError(f"the volume is refused: {error}") from None
        except OSError as error:
            raise ServerError(f"a layer can't be read: {error.strerror}") from None
        return header

    def _serve(self, header: luks2.Header) -> None:
        is_layer = bool(header.layer_id)
        _datapath.set_volume(self._fd, luks2.DATA_OFFSET, header.size, header.thin, is_layer)
        self._layers.serve(header)

    def _get_keys(self, header: luks2.Header) -> None:
        """The volume's, when those of a clone's other layers are here."""
        for other in reversed(self._layers.others(header)):
            self._get_key(other, self._layers.releases[other.uuid], of_layers=True)
        self._get_key(header, self.options["attachment"])

    def _get_key(self, header: luks2.Header, request_id: str, *, of_layers: bool = False) -> None:
        public_key = _datapath.new_release_key()
        request: dict[str, object] = {
            "attachment_id": request_id,
            "ticket": self._ticket,
            "public_key": public_key.hex(),
            "volume_id": header.uuid,
            "cmk_id": header.cmk_id,
            "wrapped_dek": binascii.b2a_base64(header.wrapped_dek, newline=False).decode(),
            "context": header.context,
        }
        encapsulated, sealed = release.ask(self.options["release_socket"], request)
        try:
            _datapath.unseal(encapsulated, sealed, release.RELEASE_INFO + request_id.encode())
        except ValueError as error:
            raise ServerError(f"the key service's answer can't be used: {error}") from None
        digest = header.digest_salt, header.digest_iterations, header.digest
        if not _datapath.verify_digest(*digest, of_layers):
            raise ServerError("the key service released another key than this volume's")

    def _stop(self) -> None:
        try:
            if not self.read_only:
                _datapath.flush(None, 0)
        finally:
            _datapath.wipe()
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # what was handed over stays open
            os.close(self._fd)
