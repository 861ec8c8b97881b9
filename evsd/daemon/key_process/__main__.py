"""evsd-keys, started by evsd alone."""

from __future__ import annotations

from evsd.daemon.loading import uncollected

with uncollected():
    from evsd.daemon.key_process.main import main

main()
