"""HTTP over TCP, every request signed; with TLS where the endpoint says so."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

import httpx

from evsd.cli.errors import UsageProblem
from evsd.cli.http import Answer, NoAnswer, Stream
from evsd.cli.http.signing import AccessKeyAuth, StreamAuth


class TcpHttp:
    """Connections to one evsd, by way of a proxy if the environment names one."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        """Raises `UsageProblem` for an endpoint, or a proxy, that can't be used."""
        self._timeout_s = timeout_s
        auth, self._stream_auth = AccessKeyAuth.from_environment(), StreamAuth.from_environment()
        try:
            self._client = httpx.Client(
                base_url=endpoint, timeout=timeout_s, auth=auth, verify=_authorities()
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # also of a proxy's
            raise UsageProblem(f"EVSD_ENDPOINT {endpoint!r} can't be used: {error}") from error

    def request(
        self,
        method: str,
        path: str,
        content: bytes | Stream | None,
        query: Mapping[str, str],
        project: str = "",
    ) -> Answer:
        """The answer to one request; raises `NoAnswer`."""
        headers = {"X-Project-Id": project} if project else {}
        try:
            if isinstance(content, Stream):
                response = self._send(method, path, content, headers)
            else:
                headers |= {} if content is None else {"Content-Type": "application/json"}
                response = self._client.request(
                    method, path, content=content, params=query, headers=headers
                )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            garbled = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
            raise NoAnswer(str(error), garbled=garbled) from error
        return Answer(response.status_code, response.headers, response.content)

    def _send(
        self, method: str, path: str, content: Stream, headers: Mapping[str, str]
    ) -> httpx.Response:
        of_stream = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(content.length),
            "X-Sdk-Content-Sha256": content.sha256(),
        }
        headers = {**headers, **of_stream}
        auth, pieces = self._stream_auth, content.pieces
        timeout = httpx.Timeout(self._timeout_s, read=None)  # for what is made of it
        return self._client.request(
            method, path, content=pieces, headers=headers, auth=auth, timeout=timeout
        )


def _authorities() -> ssl.SSLContext:
    """Who may vouch for the server: the file EVSD_CA, SSL_CERT_FILE, or the system's."""
    file = os.environ.get("EVSD_CA")
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        raise UsageProblem(
            f"EVSD_CA={file} holds no certificate: it names a PEM file of the authority that has "
            "signed evsd's, or of evsd's own certificate"
        ) from error
    except OSError as error:
        raise UsageProblem(f"EVSD_CA={file}: {error.strerror}") from error
