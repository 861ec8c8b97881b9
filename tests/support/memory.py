"""What is in a process's memory, read as root, how much of it there is, and whether it sleeps."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.traces import read_all


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    resident: int
    proportional: int  # a page that n processes share counts one n-th
    private_dirty: int


def memory_of(pid: int) -> Memory:
    """How much memory a process uses."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        sizes[name] = int(value) * 1024
    return Memory(sizes["Rss:"], sizes["Pss:"], sizes["Private_Dirty:"])


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def naps(pid: int) -> int:
    """How often its threads have gone to sleep: whoever does nothing but sleep adds none."""
    texts = read_all(f"/proc/{pid}/task", "*/status").values()
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.M)[0]) for t in texts)


@dataclass(frozen=True)
class Region:
    """A mapping the process may write, and its flags as in /proc/PID/smaps."""

    content: bytes
    flags: frozenset[str]


def writable_regions(pid: int) -> list[Region]:
    """Every one that can be read."""
    regions = []
    start = end = 0
    mode = ""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                start, end = (int(part, 16) for part in words[0].split("-"))
                mode = words[1]
            elif words[0] == "VmFlags:" and "w" in mode:
                file.seek(start)
                try:
                    regions.append(Region(file.read(end - start), frozenset(words[1:])))
                except OSError:  # a device's pages, or gone since
                    continue
    return regions


def writable_memory(pid: int) -> list[bytes]:
    """The content of every region the process may write."""
    return [region.content for region in writable_regions(pid)]


def pieces(dek: bytes) -> tuple[bytes, ...]:
    """A 64-byte data key as it may lie in memory: whole, or in the round keys of 16 bytes that
    AES's key schedules begin with.
    """
    return (dek, *(dek[at : at + 16] for at in range(0, 64, 16)))


def process_holds(pid: int, dek: bytes) -> bool:
    """Whether a 64-byte data key, or a quarter of it, is there in clear."""
    return any(piece in region for region in writable_memory(pid) for piece in pieces(dek))
