"""A progress bar for whatever takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

AFTER_S = 1.0


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes percents. The bar is on standard error, if that is a terminal."""
    due = time.monotonic() + AFTER_S
    bar: Any = None

    def show(percent: int) -> None:
        nonlocal bar
        if bar is None and sys.stderr.isatty() and time.monotonic() > due:
            bar = click.progressbar(length=100, label=label, file=sys.stderr)
        if bar is not None:
            bar.update(percent - bar.pos)

    try:
        yield show
    finally:
        if bar is not None:
            bar.render_finish()
