"""Settings: the command line and an optional TOML file.

::

    region = "local"                   # its name; by default that of the last start
    availability_zone = "local"        # its name, the only one, in which volumes are made
    pool = "/srv/evsd"                 # default: STATE_DIR/pool
    user = "evsd"                      # whom evsd becomes when root starts it; "root" to stay

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

    [space]                            # on the filesystems of pool and state directory
    low_percent = 10                   # with less free than this part the alarm is raised

    [database]                         # of records; default: STATE_DIR/evsd.db
    url = "sqlite:////srv/db/evsd.db"  # in a directory of evsd's user; only SQLite is supported yet

    [tls]                              # for --http; read before root is given up
    certificate = "/etc/evsd/tls.crt"  # with the chain below it
    key = "/etc/evsd/tls.key"
"""

from __future__ import annotations

import grp
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    model_validator,
)

from evsd.audit.log import SEGMENT_BYTES
from evsd.daemon.messages import in_words
from evsd.daemon.pin import prompt_for_pin
from evsd.key_client.process import HsmAccess
from evsd.policy import Role, given_roles
from evsd.principal import DEFAULT, UnixUser
from evsd.services import load_records
from evsd.serving.server_files import DIRECTORY_NAME_LENGTH, SOCKET_NAME
from evsd.store.url import DatabaseUnsupported, file_of

# A unix socket's path holds 107 characters; the longest below the state directory is that of a
# volume's server.
LONGEST_STATE_DIR = 107 - len(f"/nbd//{SOCKET_NAME}") - DIRECTORY_NAME_LENGTH


class BadSettings(Exception):
    """A setting that can't be used; the message says which and why."""


class BadOption(BadSettings):
    """One of the command line."""


def _true(value: bool) -> bool:
    if not value:
        raise ValueError("must be true, or not be there")
    return value


class HsmSettings(BaseModel):
    """The table ``[hsm]``: where the keys are, instead of the embedded token."""

    model_config = ConfigDict(extra="forbid")

    module: Path
    token_label: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    slot: Annotated[int, Field(ge=0)] | None = None
    pin_file: Path | None = None
    pin_credential: Annotated[str, Field(pattern="^[A-Za-z0-9._-]+$")] | None = None
    pin_prompt: Annotated[bool, AfterValidator(_true)] | None = None
    environment: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_of_each(self) -> HsmSettings:
        for names in (("token_label", "slot"), ("pin_file", "pin_credential", "pin_prompt")):
            there = [name for name in names if getattr(self, name) is not None]
            if len(there) != 1:
                found = " and ".join(there) or "none"
                raise ValueError(f"needs exactly one of {', '.join(names)}; it has {found}")
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


class SpaceSettings(BaseModel):
    """The table ``[space]``."""

    model_config = ConfigDict(extra="forbid")

    low_percent: Annotated[float, Field(ge=0, le=100)] = 10


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


def _given(role: object) -> Role:
    load_records()
    by_name = {given.name: given for given in given_roles().values()}
    if role not in by_name:
        roles = ", ".join(f'"{name}"' for name in by_name)
        raise ValueError(f"must be a role ({roles}), or the table {{ user = ..., domain = ... }}")
    return by_name[str(role)]


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path: evsd and its servers run in other directories")
    return path


class MappedUser(BaseModel):
    """A user of the identity records, as whom a Unix user acts."""

    model_config = ConfigDict(extra="forbid")

    user: str
    domain: str = DEFAULT


def _kind(value: object) -> str:
    return "user" if isinstance(value, dict) else "role"


Mapped = Annotated[
    Annotated[Role, PlainValidator(_given), Tag("role")] | Annotated[MappedUser, Tag("user")],
    Discriminator(_kind),
]


class TlsSettings(BaseModel):
    """Certificate and private key of the TCP listener, both PEM."""

    model_config = ConfigDict(extra="forbid")

    certificate: Path
    key: Path


class DatabaseSettings(BaseModel):
    """The table ``[database]``."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None

    @property
    def file(self) -> Path | None:
        """The database's file, where it is not in the state directory; raises `BadSettings`.

        What is wrong is told without the URL, in which there may be a password.
        """
        try:
            return None if self.url is None else file_of(self.url)
        except DatabaseUnsupported as error:
            raise BadSettings(f"[database] url can't be used: {error}") from error


WordSetting = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class FileSettings(BaseModel):
    """What the TOML file may hold."""

    model_config = ConfigDict(extra="forbid")

    region: WordSetting | None = None
    availability_zone: WordSetting = "local"
    pool: Annotated[Path, AfterValidator(_absolute)] | None = None
    user: str | None = None
    hsm: HsmSettings | None = None
    audit: AuditSettings = AuditSettings()
    attach: AttachSettings = AttachSettings()
    space: SpaceSettings = SpaceSettings()
    unix_users: dict[str, Mapped] = {}
    database: DatabaseSettings = DatabaseSettings()
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
    """Where everything of one evsd is; the database may be elsewhere."""

    def __init__(self, path: Path, database: Path | None = None) -> None:
        self.path = path.absolute()
        if len(str(self.path)) > LONGEST_STATE_DIR:
            raise BadSettings(
                f"the path of --state-dir is too long for unix sockets: {len(str(self.path))} "
                f"characters, at most {LONGEST_STATE_DIR}"
            )
        self.http_socket = self.path / "evsd.sock"
        self.database = database or self.path / "evsd.db"
        self.lock = self.path / "evsd.lock"
        self.database_lock = self.database.with_suffix(".lock")  # the same, if it is in here
        self.audit_log = self.path / "audit.log"
        self.token = self.path / "token"
        self.release_socket = self.path / "keys.sock"
        self.servers = self.path / "nbd"
        self.pool = self.path / "pool"
        self.changes = self.database.with_suffix(".changes")
        self.host = self.path / "evsd.host"

    def is_own(self, path: Path) -> bool:
        """Whether this is the name of something that evsd makes in it."""
        return path in (self.token, self.servers, self.pool) or path.name.startswith(
            ("evsd.", "keys.", "audit.")
        )


def read_file(path: Path | None) -> FileSettings:
    """The settings in the file, or the defaults; raises `BadSettings`."""
    if path is None:
        return FileSettings()
    try:
        return FileSettings.model_validate(_table(path))
    except ValidationError as error:
        raise BadSettings(f"{path}: {in_words(error, FileSettings)}") from error


@contextmanager
def told_of(path: Path | None) -> Iterator[None]:
    """Around what uses the settings: errors name the file they are in."""
    try:
        yield
    except BadOption:
        raise
    except BadSettings as error:
        if path is None:
            raise
        raise BadSettings(f"{path}: {error}") from error


def _table(path: Path) -> dict[str, Any]:
    """The file's content; raises `BadSettings`, which names the line of a mistake."""
    try:
        content = path.read_bytes()
        return tomllib.loads(content.decode())
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadSettings(f"{path}: line {line} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        end = f"at the end, line {len(content.splitlines())}"
        raise BadSettings(
            f"{path} is not TOML: {str(error).replace('at end of document', end)}"
        ) from error


def refuse_unreadable(hsm: HsmAccess) -> None:
    """What is there and may not be read, by the user evsd has become, no waiting brings back."""
    for key, path in (("module", hsm.module), ("pin_file", hsm.pin_file)):
        try:
            if path is not None:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except PermissionError as error:
            raise BadSettings(
                f"[hsm] {key}: the user evsd runs as (uid {os.getuid()}) can't read {path}"
            ) from error
        except OSError:  # the HSM is away: evsd starts, and waits for it
            continue
