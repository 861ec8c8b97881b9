"""Asking for the token's PIN on the terminal."""

from __future__ import annotations

import os
import termios


def prompt_for_pin() -> int:
    """A file in memory with the PIN, to be handed to evsd-keys at each of its starts.

    evsd keeps no copy: what was read is overwritten. Raises OSError where there is no terminal.
    """
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        typed = _read_silently(terminal)
    finally:
        os.close(terminal)
    file = os.memfd_create("hsm-pin", os.MFD_CLOEXEC)
    os.write(file, typed)
    typed[:] = bytes(len(typed))
    return file


def _read_silently(terminal: int) -> bytearray:
    typed = bytearray(1024)
    before = termios.tcgetattr(terminal)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    try:
        # Not before: what answers at once would be shown, and thrown away.
        os.write(terminal, b"PIN of the HSM: ")
        length = os.readv(terminal, [typed])
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        os.write(terminal, b"\n")
    del typed[length:]
    return typed
