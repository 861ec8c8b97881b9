"""HTTP on evsd's unix socket, where the kernel says who asks and nothing is signed."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlencode

from httptools import HttpParserError, HttpResponseParser

from evsd.cli.http import Answer, NoAnswer, Stream

# evsd ends idle connections, later than this: no request meets the end of its connection.
KEPT_S = 5
PIECE = 256 * 1024
STREAM_TYPE = "application/octet-stream"


class UnixHttp:
    """One connection, kept from request to request."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._socket: socket.socket | None = None
        self._used = 0.0

    def request(
        self,
        method: str,
        path: str,
        content: bytes | Stream | None,
        query: Mapping[str, str],
        project: str = "",
    ) -> Answer:
        """The answer to one request; raises `NoAnswer`."""
        target = f"{path}?{urlencode(query)}" if query else path
        lines = [f"{method} {target} HTTP/1.1", "Host: evsd", "Accept: application/json"]
        if project:
            lines.append(f"X-Project-Id: {project}")
        if isinstance(content, Stream):
            lines += [f"Content-Length: {content.length}", f"Content-Type: {STREAM_TYPE}"]
        elif content is not None:
            lines += [f"Content-Length: {len(content)}", "Content-Type: application/json"]
        head = "\r\n".join([*lines, "", ""]).encode()
        try:
            answer = self._exchange(head, content)
        except BaseException as error:  # Ctrl-C too: the rest of an answer is no answer
            self._end()
            if isinstance(error, OSError):
                raise NoAnswer(str(error)) from error
            if isinstance(error, HttpParserError):
                raise NoAnswer(f"what it speaks is no HTTP: {error}", garbled=True) from error
            raise
        self._used = time.monotonic()
        return answer

    def _exchange(self, head: bytes, content: bytes | Stream | None) -> Answer:
        connection = self._connected()
        if isinstance(content, Stream):
            _send(connection, head, content)
            connection.settimeout(None)  # for what is made of it
        else:
            connection.sendall(head + (content or b""))
        received = _Received()
        parser = HttpResponseParser(received)
        while not received.whole:
            piece = connection.recv(PIECE)
            if not piece:
                _broken_off()
            parser.feed_data(piece)
        connection.settimeout(self._timeout_s)
        if not parser.should_keep_alive():
            self._end()
        return Answer(parser.get_status_code(), received.headers, b"".join(received.pieces))

    def _connected(self) -> socket.socket:
        if self._socket is not None and not self._is_usable(self._socket):
            self._end()
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(self._timeout_s)
            self._socket.connect(self._path)
        return self._socket

    def _is_usable(self, connection: socket.socket) -> bool:
        """Whether it is not over: what can be read before anything was asked is its end."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return time.monotonic() - self._used < KEPT_S and not poll.poll(0)

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _send(connection: socket.socket, head: bytes, content: Stream) -> None:
    """Send it, or as much of it as is wanted: what is refused is answered before its end."""
    try:
        connection.sendall(head)
        for piece in content.pieces:
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return


class _Received:
    """What the parser has found of an answer."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.whole = True


def _broken_off() -> NoReturn:
    raise ConnectionError("it closed the connection without a whole answer")
