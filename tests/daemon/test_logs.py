"""evsd's log on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import structlog
from evsd.logs import configure_logging

configure_logging()
structlog.get_logger().info("an event", of="some kind")
"""


def test_a_line_is_written_in_one_piece_for_others_write_there_too(tmp_path: Path) -> None:
    traced = tmp_path / "writes"
    subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=write", "-o", traced, sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        check=True,
        capture_output=True,
    )
    [line] = [line for line in traced.read_text().splitlines() if "write(2," in line]
    assert "some kind" in line
