"""The alarm: says in the log when a filesystem of evsd's runs out of space, before it has none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from evsd.resource import Resource
from evsd.space import Level, Space, look

PERIOD_S = 5
POOL, STATE = "pool", "state directory"
REMEDY = (
    "free space: delete volumes or files that nobody needs, or make the filesystem larger; full, "
    "it fails the writes of attached volumes"
)
REMEDY_WHEN_FULL = (
    "free space first, before any detach --force, attach or filesystem check: what a filesystem "
    "has in its journal can't be brought to its place while there is none"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filesystem:
    """What is kept on it, and how it is off for space."""

    holds: str
    directory: Path
    space: Space
    level: Level


class SpaceWatch(Resource):
    """Looks every `PERIOD_S` seconds, and when it is asked; each change of a level is logged once.

    `hold_reserve` is called each time too: what couldn't be reserved then may be by now.
    """

    def __init__(
        self,
        directories: Mapping[str, Path],
        low_percent: float,
        hold_reserve: Callable[[], bool] = lambda: True,
    ) -> None:
        self._directories, self._low_percent = directories, low_percent
        self._hold_reserve, self._reserve_held = hold_reserve, True
        self._levels = dict.fromkeys(directories, Level.OK)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="space", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def filesystems(self) -> list[Filesystem]:
        """Each one as it is now; one that can't be asked is left out, and logged."""
        found = []
        for holds, directory in self._directories.items():
            try:
                space = look(directory)
            except OSError as error:
                log.error("a filesystem can't be asked for its space", of=holds, reason=str(error))
                continue
            filesystem = Filesystem(holds, directory, space, space.level(self._low_percent))
            self._tell(filesystem)
            found.append(filesystem)
        return found

    def pool(self) -> Filesystem | None:
        """The one that volumes are on, unless it can't be asked."""
        return next((each for each in self.filesystems() if each.holds == POOL), None)

    def _tell(self, filesystem: Filesystem) -> None:
        with self._lock:
            before = self._levels[filesystem.holds]
            self._levels[filesystem.holds] = now = filesystem.level
        if now == before:
            return
        facts = {
            "of": filesystem.holds,
            "directory": str(filesystem.directory),
            "space": str(filesystem.space),
        }
        if now == Level.OK:
            log.info("a filesystem has space again", **facts)
        elif now == Level.LOW:
            log.warning("a filesystem is low on space", **facts, remedy=REMEDY)
        elif now == Level.FULL:
            log.error("a filesystem is full", **facts, remedy=REMEDY_WHEN_FULL)
        else:
            log.error("a filesystem is read-only", **facts, remedy="the kernel's log may say why")

    def _run(self) -> None:
        while True:
            try:
                self.filesystems()
                self._hold()
            except Exception:
                log.exception("space not looked at")
            if self._stopping.wait(PERIOD_S):
                return

    def _hold(self) -> None:
        held = self._hold_reserve()
        if held != self._reserve_held:
            self._reserve_held = held
            if held:
                log.info("the database has its reserve of space")
            else:
                log.warning("the database has not its whole reserve of space", remedy=REMEDY)
