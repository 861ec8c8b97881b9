"""Requests of several threads at once, while the key is wiped and got again: for the thread
sanitizer, which sees races that happened not to hurt. ``python -m tests.fuzz.threads``.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from nbd_plugin import _datapath
from tests.fuzz.requests import FUA, MAY_TRIM, SIZE, Target

THREADS, SECONDS = 4, 3


def work(seed: int, end: float) -> None:
    """Random requests, most of them large enough to run without the GIL."""
    chance = random.Random(seed)  # noqa: S311
    buffer = memoryview(bytearray(SIZE))
    while time.monotonic() < end:
        length = chance.randrange(1, SIZE)
        offset = chance.randrange(SIZE - length)
        part = buffer[:length]
        calls: list[Callable[[], object]] = [
            partial(_datapath.pread, None, part, offset, 0),
            partial(_datapath.pwrite, None, part, offset, chance.choice([0, FUA])),
            partial(_datapath.zero, None, length, offset, chance.choice([0, MAY_TRIM])),
            partial(_datapath.trim, None, length, offset, FUA),
            partial(_datapath.extents, None, length, offset, 0),
            partial(_datapath.flush, None, 0),
        ]
        try:
            chance.choice(calls)()
        except OSError as error:
            if error.errno != errno.EPERM:  # the key is away
                raise


def main() -> None:
    """Ends with status 0; a sanitizer ends it otherwise, and so does what a thread raises."""
    target = Target(thin=True)
    end = time.monotonic() + SECONDS
    with ThreadPoolExecutor(THREADS) as pool:
        works = [pool.submit(work, seed, end) for seed in range(THREADS)]
        while time.monotonic() < end:
            time.sleep(0.05)
            _datapath.wipe()
            target.get_key()
    for done in works:
        done.result()
    target.close()
    print("done")


if __name__ == "__main__":
    main()
