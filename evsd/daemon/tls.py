"""TLS of the TCP listener."""

from __future__ import annotations

import ssl

from evsd.daemon.settings import BadSettings, TlsSettings


def server_context(settings: TlsSettings | None) -> ssl.SSLContext | None:
    """Certificate and key as a server uses them, TLS 1.2 and up; raises `BadSettings`.

    OpenSSL keeps the key in memory: the file is not read again, so it may be root's alone, and a
    new certificate takes a restart.
    """
    if settings is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A passphrase would be asked for on a terminal that may not be there.
        context.load_cert_chain(settings.certificate, settings.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise BadSettings(f"[tls] {settings.certificate}, {settings.key}: {error}") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted, evsd needs it in clear")
