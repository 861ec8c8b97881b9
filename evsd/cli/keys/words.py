"""A key's state and days in words."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STATES = {
    "1": "waiting",
    "2": "enabled",
    "3": "disabled",
    "4": "pending deletion",
    "5": "pending import",
}
Details = Mapping[str, str]  # the published details of a key


def state(details: Details) -> str:
    """Its state, and how long it will still be there."""
    word = STATES.get(details["key_state"], details["key_state"])
    if not details["scheduled_deletion_date"]:
        return word
    return f"{word}, {days_left(details)} days left"


def key_of_volume(details: Details) -> str:
    """Its alias, and its state where that keeps volumes under it from being attached."""
    if STATES.get(details["key_state"]) == "enabled":
        return details["key_alias"]
    return f"{details['key_alias']} ({state(details)})"


def days_left(details: Details) -> int:
    """Days until a key that is scheduled for deletion is destroyed, the last one counted whole."""
    seconds = int(details["scheduled_deletion_date"]) / 1000 - time.time()
    return max(0, math.ceil(seconds / 86400))


def rotation_fields(status: Mapping[str, Any]) -> dict[str, str]:
    """When a key was rotated last, by whatever, and whether that happens by itself."""
    days = status["rotation_interval"]
    last = status["last_rotation_time"]
    return {
        "versions": str(len(status["key_materials"])),
        "last rotated": day_and_time(last) if last else "never",
        "rotates itself": f"every {days} days" if status["key_rotation_enabled"] else "no",
    }


def day_and_time(milliseconds: str) -> str:
    """A published time."""
    if not milliseconds:
        return "-"
    return f"{datetime.fromtimestamp(int(milliseconds) / 1000, UTC):%Y-%m-%dT%H:%M:%S} UTC"
