"""Ctrl-C: when it may interrupt, and when something has to be finished first."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Clear up in peace: a second Ctrl-C comes when that is done."""
    with _handled(SIGNALS, signal.SIG_IGN):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt as Ctrl-C does, so that what was begun is undone.

    What is ignored stays so: that is how nohup and shells keep their background jobs alive.
    """
    with _handled(_heard(), _interrupt):
        yield


@contextmanager
def answered() -> Iterator[None]:
    """A request that must not be left without its answer: Ctrl-C interrupts when that is there.

    A second one interrupts at once: evsd may hang.
    """
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    with _handled(_heard(), note):
        yield
    if came:
        raise KeyboardInterrupt


def no_more_interrupts() -> None:
    """From here on nothing would be undone: what is left is to say so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _heard() -> list[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
