"""Waiting for the kernel by condition, never by duration."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 0.01


def until(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Poll until the condition holds; False if it still does not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True
