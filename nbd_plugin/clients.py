"""Who is connected, and who of them may write.

One client at a time may: others are served for reading only. Where the host has a device of this
attachment, that is the device, which connects under an export name of its own: the process that
made its connection need not be there any more, and the next connection is made by another.
Everywhere else it is the process that came first, with all the connections it makes.

Who is there is written to an inherited file whenever that changes, for evsd: one JSON object in a
line, `{"clients": [{"pid", "uid", "device", "writes", "since"}, …]}`, the times in milliseconds
since the machine was booted.
"""

from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock

from nbd_plugin import compactjson, sockets

# For a client that has hung up: it has the volume until its last request is done.
LEAVING_TIMEOUT_S = 30.0
_STEP_S = 0.002


class Client:
    """One connection. `pid` is 0 where its process is out of sight, as in another container."""

    __slots__ = ("connection", "device", "pid", "process", "since", "uid", "writes")

    def __init__(self, pid: int, uid: int, *, device: bool) -> None:
        self.pid, self.uid, self.device = pid, uid, device
        self.writes = False
        self.connection = -1  # its descriptor
        self.since = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        try:
            self.process = os.pidfd_open(pid) if pid > 0 else -1
        except OSError:
            self.process = -1  # it has ended already

    @property
    def is_leaving(self) -> bool:
        """Whether it has hung up, and only what it asked for last is still being done."""
        return self.connection >= 0 and sockets.hung_up(self.connection)

    def is_process_of(self, other: Client) -> bool:
        """Whether both connections were made by one process, which still runs."""
        if self.pid != other.pid or self.process < 0:
            return False
        poll = select.poll()
        poll.register(self.process, select.POLLIN)
        return not poll.poll(0)  # else another has got its pid


class Clients:
    """All that are connected; `report` is the descriptor of evsd's file, -1 where there is none."""

    def __init__(self, report: int, *, has_device: bool) -> None:
        self._report, self._has_device = report, has_device
        self._clients: list[Client] = []
        self._lock = allocate_lock()

    def add(self, client: Client, *, read_only: bool) -> None:
        """Let it in, for writing unless nobody may or somebody else does."""
        deadline = time.monotonic() + LEAVING_TIMEOUT_S
        while not self._try_to_add(client, read_only, last=time.monotonic() > deadline):
            time.sleep(_STEP_S)

    def remove(self, client: Client) -> None:
        """It has gone."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)
                self._tell()
        if client.process >= 0:
            os.close(client.process)
            client.process = -1

    def _try_to_add(self, client: Client, read_only: bool, *, last: bool) -> bool:
        """False where the volume is about to be free for it."""
        with self._lock:
            may = client.device or not self._has_device
            rivals = self._rivals(client) if may and not read_only else []
            if rivals and not last and all(rival.is_leaving for rival in rivals):
                return False
            client.writes = may and not read_only and not rivals
            taken = {other.connection for other in self._clients}
            client.connection = sockets.made_by(client.pid, taken)
            self._clients.append(client)
            self._tell()
            return True

    def _rivals(self, client: Client) -> list[Client]:
        """Who writes and is another client."""
        if client.device:
            return []
        return [
            other for other in self._clients if other.writes and not other.is_process_of(client)
        ]

    def _tell(self) -> None:
        if self._report < 0:
            return
        fields = ("pid", "uid", "device", "writes", "since")
        clients = [{name: getattr(each, name) for name in fields} for each in self._clients]
        line = compactjson.dumps({"clients": clients}).encode() + b"\n"
        try:
            os.pwrite(self._report, line, 0)
            os.ftruncate(self._report, len(line))
        except OSError as error:  # as on a full disk: whoever is there is served all the same
            os.write(2, f"nbdkit: evsd is not told of the clients: {error.strerror}\n".encode())
