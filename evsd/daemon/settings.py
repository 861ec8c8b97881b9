"""Settings: the command line and an optional TOML file.

::

    region = "local"                   # its name; by default that of the last start
    pool = "/srv/evsd"                 # default: STATE_DIR/pool
    user = "evsd"                      # who evsd becomes when it is started as root

    [hsm]                              # default: a SoftHSM2 token in STATE_DIR/token
    module = "/usr/lib/vendor/libpkcs11.so"
    token_label = "evsd"               # or: slot = 3
    pin_file = "/etc/evsd/hsm-pin"     # or: pin_credential = "hsm-pin", or: pin_prompt = true
    environment = { VENDOR_CONF = "/etc/vendor.conf" }    # of the module; never the PIN

    [audit]
    segment_bytes = 67108864           # a new file is begun at this size

    [attach]
    group = "kvm"                      # its members may open the NBD socket of every attachment

    [unix_users]                       # besides root and evsd's own user
    alice = "ordinary user"            # a role in the domain `default`
    bob = { user = "bob", domain = "acme" }

    [tls]                              # for --http; read before root is given up
    certificate = "/etc/evsd/tls.crt"  # with the chain below it
    key = "/etc/evsd/tls.key"
"""

from __future__ import annotations

import grp
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from evsd.attach.service import DIRECTORY_NAME_LENGTH, SOCKET_NAME
from evsd.audit.log import SEGMENT_BYTES
from evsd.daemon.pin import prompt_for_pin
from evsd.iam.policy import Role
from evsd.iam.principals import DEFAULT, UnixUser
from evsd.kms.client import HsmAccess

# A unix socket's path holds 107 characters; the longest below the state directory is that of a
# volume's server.
LONGEST_STATE_DIR = 107 - len(f"/nbd//{SOCKET_NAME}") - DIRECTORY_NAME_LENGTH
# What may be in a new state directory: the log and the settings of the one who starts evsd.
FOREIGN_FILES = 8


class BadSettings(Exception):
    """A setting that can't be used; the message says which and why."""


class HsmSettings(BaseModel):
    """The table ``[hsm]``: where the keys are, instead of the embedded token."""

    model_config = ConfigDict(extra="forbid")

    module: Path
    token_label: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    slot: Annotated[int, Field(ge=0)] | None = None
    pin_file: Path | None = None
    pin_credential: Annotated[str, Field(pattern="^[A-Za-z0-9._-]+$")] | None = None
    pin_prompt: Literal[True] | None = None
    environment: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_of_each(self) -> HsmSettings:
        for names in (("token_label", "slot"), ("pin_file", "pin_credential", "pin_prompt")):
            if sum(getattr(self, name) is not None for name in names) != 1:
                raise ValueError(f"[hsm] needs exactly one of {', '.join(names)}")
        return self

    def access(self) -> HsmAccess:
        """How evsd-keys gets there; asks for the PIN if it is to be typed in."""
        pin_file = self.pin_file
        if self.pin_credential is not None:
            directory = os.environ.get("CREDENTIALS_DIRECTORY")  # systemd.exec(5)
            if directory is None:
                raise BadSettings("pin_credential: systemd gave no credentials, see its unit")
            pin_file = Path(directory) / self.pin_credential
        return HsmAccess(
            module=self.module,
            token_label=self.token_label,
            slot=self.slot,
            pin_file=pin_file,
            pin_fd=None if pin_file else prompt_for_pin(),
            environment=self.environment,
        )


class AuditSettings(BaseModel):
    """The table ``[audit]``."""

    model_config = ConfigDict(extra="forbid")

    segment_bytes: Annotated[int, Field(ge=4096)] = SEGMENT_BYTES


def _existing(group: str) -> str:
    try:
        grp.getgrnam(group)
    except KeyError as error:
        raise ValueError(f"there is no group {group!r} on this host") from error
    return group


class AttachSettings(BaseModel):
    """The table ``[attach]``."""

    model_config = ConfigDict(extra="forbid")

    group: Annotated[str, AfterValidator(_existing)] | None = None

    @property
    def gid(self) -> int | None:
        """The group's number."""
        return None if self.group is None else grp.getgrnam(self.group).gr_gid


def _given(role: Role) -> Role:
    if role is Role.OPERATOR:
        raise ValueError("nobody can be made the operator")
    return role


class MappedUser(BaseModel):
    """A user of the identity records, as whom a Unix user acts."""

    model_config = ConfigDict(extra="forbid")

    user: str
    domain: str = DEFAULT


class TlsSettings(BaseModel):
    """Certificate and private key of the TCP listener, both PEM."""

    model_config = ConfigDict(extra="forbid")

    certificate: Path
    key: Path


class FileSettings(BaseModel):
    """What the TOML file may hold."""

    model_config = ConfigDict(extra="forbid")

    region: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    pool: Path | None = None
    user: str = "evsd"
    hsm: HsmSettings | None = None
    audit: AuditSettings = AuditSettings()
    attach: AttachSettings = AttachSettings()
    unix_users: dict[str, Annotated[Role, AfterValidator(_given)] | MappedUser] = {}
    tls: TlsSettings | None = None

    @property
    def mapped_users(self) -> dict[str, UnixUser]:
        """Whom each Unix user acts as."""
        return {
            name: UnixUser(mapped.user, mapped.domain)
            if isinstance(mapped, MappedUser)
            else UnixUser(name, roles=frozenset({mapped}))
            for name, mapped in self.unix_users.items()
        }


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
