"""What keeps the Unix users of the settings from acting, told at start and not at their door."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterator, Mapping

import structlog

from evsd.principal import UnixUser
from evsd.services.iam.principals import Directory

log = structlog.get_logger()


def tell_useless(users: Mapping[str, UnixUser], directory: Directory) -> None:
    """Log each entry of [unix_users] by which nobody can do anything now.

    No reason not to start: the user, or the domain, may be made next.
    """
    for name, mapped in users.items():
        for reason, remedy in _troubles(name, mapped, directory):
            log.warning(
                "a Unix user of the settings can't act",
                unix_user=name,
                reason=reason,
                remedy=remedy,
            )


def _troubles(name: str, mapped: UnixUser, directory: Directory) -> Iterator[tuple[str, str]]:
    if not _on_this_host(name):
        yield "there is no such Unix user on this host", "make it, or correct [unix_users]"
    missing = directory.what_is_missing(mapped)
    if missing:
        yield missing, "make it with `evsctl domain create` or `evsctl user create`, or correct it"


def _on_this_host(name: str) -> bool:
    if re.fullmatch(r"uid-\d+", name):  # as evsd calls a uid that has no name
        return True
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
