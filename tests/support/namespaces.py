"""Mount namespaces of tests' own."""

from __future__ import annotations

# Mounts made inside stay inside. Those of other tests must go away inside too when they are taken
# away outside: a private copy of one would keep its device busy for as long as this lives.
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "slave")
