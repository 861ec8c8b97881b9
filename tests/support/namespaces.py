"""Mount namespaces of tests' own."""

from __future__ import annotations

# A copy of another test's mount would keep its device busy for as long as the namespace lives. As
# "slave" it goes away when it is taken away outside, but only where that mount is shared, which in
# a container none is: so what tests mounted is let go of at once.
_LET_GO = """awk '$5 ~ "^/tmp/" {print $5}' /proc/self/mountinfo | tac | xargs -r umount --lazy
exec "$@"
"""


def own_mounts(*options: str) -> tuple[str, ...]:
    """A command that makes one and becomes what follows; `options` are unshare's.

    Mounts made inside stay inside.
    """
    return ("unshare", "--mount", "--propagation", "slave", *options, "sh", "-c", _LET_GO, "sh")
