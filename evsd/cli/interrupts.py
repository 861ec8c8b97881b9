"""Ctrl-C, SIGTERM and SIGHUP: when they may interrupt, and what has to be finished first.

This is loaded before all else of evsctl, so it imports next to nothing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 0.01


class _Interrupts:
    """Whether one may come now. The first that does is the last: what follows it is clearing up."""

    def __init__(self) -> None:
        self.closed, self.waiting, self.came = 0, False, 0

    def handle(self, _number: int, _frame: object) -> None:
        if self.closed:
            return
        self.came += 1
        if not self.waiting or self.came > 1:
            self.interrupt()

    def interrupt(self) -> None:
        self.closed += 1
        raise KeyboardInterrupt

    def swallowed(self, what: sys.UnraisableHookArgs) -> None:
        """One that came while an object was taken down stops nothing there: it comes again."""
        if isinstance(what.exc_value, KeyboardInterrupt):
            self.closed -= 1
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            sys.__unraisablehook__(what)


_interrupts = _Interrupts()


def hear(handler: Callable[[int, object], None] = _interrupts.handle) -> None:
    """Have these signals interrupt, also those that were held back until now.

    What is ignored stays so: that is how nohup and shells keep their background jobs alive.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    signal.signal(signal.SIGALRM, handler)
    sys.unraisablehook = _interrupts.swallowed
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Clear up in peace."""
    _interrupts.closed += 1
    try:
        yield
    finally:
        _interrupts.closed -= 1


@contextmanager
def answered() -> Iterator[None]:
    """Requests that must not be left without their answers: Ctrl-C comes when those are there.

    A second one interrupts at once: evsd may hang.
    """
    if _interrupts.waiting:
        yield
        return
    _interrupts.waiting, _interrupts.came = True, 0
    try:
        yield
    finally:
        _interrupts.waiting = False
    if _interrupts.came and not _interrupts.closed:
        _interrupts.interrupt()


@contextmanager
def noted(outcome: str) -> Iterator[None]:
    """Say of an interrupt in the block what came of it; what is said last is what is shown."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(outcome)
        raise


def no_more_interrupts() -> None:
    """From here on nothing would be undone: what is left is to say so."""
    _interrupts.closed += 1
