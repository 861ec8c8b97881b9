"""Telling the log, and systemd, that evsd serves: after what it waits for is known."""

from __future__ import annotations

import os
import socket
import ssl

import structlog

import evsd
from evsd.key_client.process import KeyProcess

log = structlog.get_logger()


def await_keys(keys: KeyProcess) -> str:
    """Wait until keys can be used, or it is known why not: then evsd serves all that needs none."""
    _notify("STATUS=waiting for the keys")
    trouble = keys.await_known()
    if trouble:
        log.error("evsd starts without its keys", reason=trouble)
    return trouble


def tell_ready(listeners: list[socket.socket], tls: ssl.SSLContext | None, trouble: str) -> None:
    """Tell that requests are taken, and whether those that need keys are answered."""
    url = _url(listeners[0], tls)
    log.info("evsd ready", version=evsd.__version__, http=url, keys=trouble or "usable")
    _notify(f"STATUS=at its start, keys could not be used: {trouble}" if trouble else "STATUS=")
    _notify("READY=1")


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3): a datagram to $NOTIFY_SOCKET), if it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        try:
            notify.sendto(state.replace("\n", " ").encode(), address.replace("@", "\0", 1))
        except OSError as error:
            log.warning("systemd can't be told", state=state, reason=str(error))


def _url(listener: socket.socket, tls: ssl.SSLContext | None) -> str | None:
    if listener.family == socket.AF_UNIX:
        return None
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
