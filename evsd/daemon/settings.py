"""Settings: the command line and an optional TOML file.

::

    region = "local"
    pool = "/srv/evsd"                 # default: STATE_DIR/pool
    user = "evsd"                      # who evsd becomes when it is started as root

    [unix_users]                       # besides root and evsd's own user
    alice = "ordinary user"
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evsd.attach.service import SOCKET_NAME_LENGTH
from evsd.iam.policy import Role

# A unix socket's path holds 107 characters; the longest below the state directory is that of a
# volume's server.
LONGEST_STATE_DIR = 107 - len("/nbd/.sock") - SOCKET_NAME_LENGTH
# What may be in a new state directory: the log and the settings of the one who starts evsd.
FOREIGN_FILES = 8


class BadSettings(Exception):
    """A setting that can't be used; the message says which and why."""


class FileSettings(BaseModel):
    """What the TOML file may hold."""

    model_config = ConfigDict(extra="forbid")

    region: str = "local"
    pool: Path | None = None
    user: str = "evsd"
    unix_users: dict[str, Role] = {}


class StateDirectory:
    """Where everything of one evsd is."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if len(str(self.path)) > LONGEST_STATE_DIR:
            raise BadSettings(
                f"the path of --state-dir is too long for unix sockets: {len(str(self.path))} "
                f"characters, at most {LONGEST_STATE_DIR}"
            )
        self.http_socket = self.path / "evsd.sock"
        self.database = self.path / "evsd.db"
        self.lock = self.path / "evsd.lock"
        self.audit_log = self.path / "audit.log"
        self.token = self.path / "token"
        self.release_socket = self.path / "keys.sock"
        self.servers = self.path / "nbd"
        self.pool = self.path / "pool"


def read_file(path: Path | None) -> FileSettings:
    """The settings in the file, or the defaults; raises `BadSettings`."""
    if path is None:
        return FileSettings()
    try:
        return FileSettings.model_validate(tomllib.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise BadSettings(f"{path}: {error}") from error
