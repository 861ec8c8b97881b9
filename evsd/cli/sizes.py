"""Sizes of volumes, as people write and read them."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import click

GIB_OF = {"M": Fraction(1, 1024), "G": Fraction(1), "T": Fraction(1024), "P": Fraction(1024**2)}


class Size(click.ParamType[Any]):
    """Whole GiB: ``10G``, ``10GiB``, ``1.5T`` or ``1024M``; as in the cloud, GB are GiB too."""

    name = "SIZE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:  # fmt: skip
        """Text to GiB. Whether the number is allowed is for the server to say."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(-?[0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", value)
        if match is None:
            self.fail(f"{value!r} is not a size like 10G or 1.5T", param, ctx)
        number, unit = Fraction(match[1]), match[2].upper().removesuffix("IB").removesuffix("B")
        if not match[2]:
            self.fail(f"{value!r} has no unit: say {math.ceil(number)}G", param, ctx)
        if unit not in GIB_OF:
            self.fail(f"{value!r} has no unit that is known here, like G or T", param, ctx)
        gib = number * GIB_OF[unit]
        if gib.denominator != 1:
            self.fail(f"{value!r} is not whole GiB: say {math.ceil(gib)}G", param, ctx)
        return int(gib)


def size_text(gib: int) -> str:
    """A size as people say it: in TiB where it is whole ones."""
    return f"{gib // 1024}T" if gib >= 1024 and gib % 1024 == 0 else f"{gib}G"


def bytes_text(count: int | None) -> str:
    """What is taken of a disk, as people say it: 12K, 1.5G."""
    if count is None:
        return "-"
    number, units = float(count), ["", "K", "M", "G", "T", "P"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.1f}{units[0]}" if units[0] and number < 10 else f"{number:.0f}{units[0]}"
