"""What is in a process's memory, read as root."""

from __future__ import annotations

from pathlib import Path


def writable_memory(pid: int) -> list[bytes]:
    """The content of every region the process may write."""
    regions = []
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for line in maps:
            area, mode = line.split()[:2]
            if "w" not in mode:
                continue
            start, end = (int(part, 16) for part in area.split("-"))
            file.seek(start)
            try:
                regions.append(file.read(end - start))
            except OSError:  # a device's pages, or gone since
                continue
    return regions


def process_holds(pid: int, dek: bytes) -> bool:
    """Whether a 64-byte data key, or a half of it, is there in clear."""
    needles = (dek, dek[:32], dek[32:])
    return any(needle in region for region in writable_memory(pid) for needle in needles)
