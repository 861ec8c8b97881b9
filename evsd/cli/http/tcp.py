"""HTTP over TCP, every request signed; with TLS where the endpoint says so."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

import httpx

from evsd.cli.errors import UsageProblem
from evsd.cli.http import Answer, NoAnswer
from evsd.cli.http.signing import AccessKeyAuth


class TcpHttp:
    """Connections to one evsd, by way of a proxy if the environment names one."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        """Raises `UsageProblem` for an endpoint, or a proxy, that can't be used."""
        auth = AccessKeyAuth.from_environment()
        try:
            self._client = httpx.Client(
                base_url=endpoint, timeout=timeout_s, auth=auth, verify=_authorities()
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # also of a proxy's
            raise UsageProblem(f"EVSD_ENDPOINT {endpoint!r} can't be used: {error}") from error

    def request(
        self, method: str, path: str, content: bytes | None, query: Mapping[str, str]
    ) -> Answer:
        """The answer to one request; raises `NoAnswer`."""
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            response = self._client.request(
                method, path, content=content, params=query, headers=headers
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            garbled = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
            raise NoAnswer(str(error), garbled=garbled) from error
        return Answer(response.status_code, response.headers, response.content)


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
