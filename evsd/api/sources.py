"""Where connections come from, how many one source may have, and what the log says of more.

Whoever can reach a socket could take every descriptor evsd has, without proving who it is. So each
Unix user and each address may have some connections, all together no more than half of what there
is; root and evsd's own user are never counted, and find room when nobody else does.
"""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from dataclasses import dataclass

import structlog

# Of one source, however many descriptors there are: more than any client of ours needs.
MOST_OF_ONE = 256
# Descriptors: half for all who are counted, of which a quarter for one.
SHARE_OF_ALL, SHARE_OF_ONE = 2, 4
PERIOD_S = 60
MOST_TOLD = 20
OTHERS = "other sources"

log = structlog.get_logger()


def network(source: str) -> str:
    """The address; of IPv6 the network, for each of its users has more addresses than we count."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if address.version == 4:
        return source
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be: of all sources that are counted, and of one."""

    of_all: int
    of_one: int

    @classmethod
    def of_this_process(cls) -> Limits:
        """By the descriptors that it may have."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        of_all = descriptors // SHARE_OF_ALL
        return cls(of_all, min(MOST_OF_ONE, max(1, of_all // SHARE_OF_ONE)))


class Sources:
    """The connections of each source that is counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connections: Counter[str] = Counter()
        self.late = RareLog("requests did not come in time")
        self.garbled = RareLog("requests were no HTTP")
        self._told = RareLog("connections refused")

    def admit(self, source: str, now: float) -> bool:
        """Count one more connection, or say no, which the log tells."""
        limit = self.limits.of_one
        if self._connections.total() >= self.limits.of_all:
            limit = 0
        if self._connections[source] >= limit:
            self._told.tell(source, now, limit=self.limits.of_one, of_all=self.limits.of_all)
            return False
        self._connections[source] += 1
        return True

    def gone(self, source: str) -> None:
        """One has ended."""
        self._connections[source] -= 1
        if self._connections[source] <= 0:
            del self._connections[source]


class RareLog:
    """A line for a source at once, and then one a minute for all that follow."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._told: dict[str, tuple[float, int]] = {}  # when, and how many since

    def tell(self, source: str, now: float, **details: object) -> None:
        """Log it, or count it for the next line."""
        if source not in self._told and len(self._told) >= MOST_TOLD:
            self._told = {s: t for s, t in self._told.items() if now < t[0] + PERIOD_S}
            if len(self._told) >= MOST_TOLD:
                source = OTHERS
        when, count = self._told.get(source, (now - PERIOD_S, 0))
        if now < when + PERIOD_S:
            self._told[source] = (when, count + 1)
            return
        self._told[source] = (now, 0)
        log.warning(self._event, source=source, count=count + 1, **details)
