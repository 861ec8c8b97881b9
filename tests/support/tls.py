"""A throw-away certificate authority, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """A CA, and a server's certificate and key for 127.0.0.1 under it."""

    ca: Path
    certificate: Path
    key: Path


def make(directory: Path) -> Certificates:
    """Make all three in a directory; the key is for its owner's eyes only."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    made = Certificates(ca, directory / "server.pem", directory / "server.key")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    _openssl("req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-subj", "/CN=test CA")
    _openssl(
        *("req", "-x509", *new_key, "-keyout", made.key, "-out", made.certificate),
        *("-CA", ca, "-CAkey", ca_key, "-subj", "/CN=evsd"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
    )
    made.key.chmod(0o600)
    return made


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
