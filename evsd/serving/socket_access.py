"""Who may connect to a volume's server: its socket has a directory of its own, with an ACL.

evsd can give nothing away, it has no capabilities. A default ACL needs none: whatever is made in
the directory has it from its first moment, so each socket that a server binds there is open to the
same users, however often the server is started again.

    directory       its owner evsd, and x for those who may pass
    directory/sock  its owner evsd, and rw for the same: connecting takes w
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# As the kernel keeps them, linux/posix_acl_xattr.h: a version, then entries in this order.
_VERSION, _ENTRY, _NOBODY = struct.pack("<I", 2), struct.Struct("<HHI"), 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_R, _W, _X = 4, 2, 1
_ALL = _R | _W | _X


class AclsUnsupported(OSError):
    """The directory is on a filesystem without ACLs; the message says which directory."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the filesystem of {path} has no ACLs, without which nobody but root can be given "
            "a socket there"
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect besides root and evsd's own user; a uid and a gid."""

    user: int | None = None
    group: int | None = None

    def entries(self, permissions: int) -> Iterator[tuple[int, int, int]]:
        """An ACL that gives them these permissions."""
        yield _USER_OBJ, _ALL, _NOBODY
        if self.user is not None:
            yield _USER, permissions, self.user
        yield _GROUP_OBJ, 0, _NOBODY
        if self.group is not None:
            yield _GROUP, permissions, self.group
        yield _MASK, permissions, _NOBODY
        yield _OTHER, 0, _NOBODY


def make_directory(path: Path, access: Access) -> None:
    """Make the directory, or give one that is there to those who have access now.

    Raises `AclsUnsupported` where somebody needs one.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    user = None if access.user in (0, os.getuid()) else access.user
    needed = Access(user, access.group)
    if needed == Access():
        _close(path)
        return
    try:
        os.setxattr(path, _DEFAULT, _packed(needed, _R | _W))
        os.setxattr(path, _ACCESS, _packed(needed, _X))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        raise AclsUnsupported(path) from error


def require_acls(directory: Path) -> None:
    """Raise `AclsUnsupported` where nobody could be given anything in this directory."""
    with tempfile.TemporaryDirectory(dir=directory) as path:
        make_directory(Path(path), Access(group=os.getgid()))


def _packed(access: Access, permissions: int) -> bytes:
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in access.entries(permissions))


def _close(path: Path) -> None:
    """Root and evsd alone."""
    for name in (_DEFAULT, _ACCESS):
        with contextlib.suppress(OSError):  # there was none, or can be none
            os.removexattr(path, name)
    path.chmod(0o700)
