"""What is wrong with an image, and what helps.

An image is imported whole or not at all, and readers fill what they miss with zeros. So whatever
says that something is missing is collected before anything is made. Who goes on in spite of it
can say what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

COPY_AGAIN = "copy it again from where it came"
REPAIR = "get another copy of it, or repair one: qemu-img check -r all COPY"


@dataclass(frozen=True, slots=True)
class Damage:
    """`what` goes on where the file's name stands."""

    what: str
    remedy: str = COPY_AGAIN


@dataclass(slots=True)
class Findings:
    """What looking at an image has come to; notes are only good to know."""

    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def extend(self, other: Findings) -> None:
        """Add what else was found."""
        self.damage += other.damage
        self.notes += other.notes


def too_short(length: int, needed: int) -> Damage:
    """The damage of a file that ends before what it is said to hold."""
    return Damage(f"ends too early: it has {length:,} bytes of at least {needed:,}")


def not_closed() -> Damage:
    """The damage of a file that is in use, or was when its writer ended."""
    return Damage(
        "was not closed by what wrote it",
        f"shut down the machine that uses it; if that is gone, {REPAIR}",
    )
