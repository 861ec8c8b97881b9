"""How far the clock can be trusted with what can't be undone.

Keys are destroyed by the calendar, and calendars go wrong: a machine starts in 2040 until NTP
corrects it, or evsd was off for a month. So nothing is destroyed before the clock has run steadily
for a day: in step with the kernel's own count of time while this process runs, and with no more
than an hour's gap since the last run. A clock that is behind destroys later, never earlier.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from evsd.services.kms.tables import Clock
from evsd.store.database import utcnow

STEADY = timedelta(days=1)
TOLERANCE = timedelta(hours=1)


class SteadyClock:
    """Watches the clock; `tick` at least every few minutes."""

    def __init__(self) -> None:
        # Clock and the kernel's own count, which also runs in suspend, when they were last in step
        # from the beginning: compared with then, small steps add up.
        self._began: tuple[datetime, float] | None = None

    def tick(self, session: Session) -> bool:
        """Note the time; returns whether the clock has been steady for long enough."""
        now, count = utcnow(), time.clock_gettime(time.CLOCK_BOOTTIME)
        record = session.get(Clock, 1)
        if record is None:
            record = Clock(id=1, seen_at=now, steady_since=now)
            session.add(record)
        if self._began is None:
            steady = _in_step(record.seen_at, now, 0)
            self._began = (now, count)
        else:
            then, counted = self._began
            steady = _in_step(then, now, count - counted)
        if not steady:
            record.steady_since, self._began = now, (now, count)
        record.seen_at = now
        return now - record.steady_since >= STEADY


def _in_step(then: datetime, now: datetime, seconds: float) -> bool:
    return abs(now - then - timedelta(seconds=seconds)) <= TOLERANCE
