"""What goes wrong with servers."""

from __future__ import annotations


class ServerFailed(Exception):
    """The process ended, or did not answer in time; the message is what it said last."""


class ServerNotEnded(ServerFailed):
    """A process can't be ended yet: it has the disk's file, and may write to it."""
