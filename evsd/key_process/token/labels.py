"""How keys are named on the token."""

from __future__ import annotations


def key_label(key_id: str, version: int) -> str:
    """What the key is called on the token."""
    return f"cmk/{key_id}/{version}"
