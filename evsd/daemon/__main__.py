"""evsd's entry."""

from __future__ import annotations

from evsd.daemon.loading import uncollected


def run() -> None:
    """The program."""
    with uncollected():
        from evsd.daemon.main import main
    main()


if __name__ == "__main__":
    run()
