"""What the file is that is to be imported, and saying so where it is a guess."""

from __future__ import annotations

from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.images import disks
from evsd.cli.images.compressed import COMMANDS
from evsd.cli.images.file import HEAD_LENGTH, Image
from evsd.cli.images.magics import RAW, VHD_OR_RAW, Kind, recognise
from evsd.cli.images.qemu import DRIVERS
from evsd.cli.problems import note

FORMATS = (*DRIVERS, *COMMANDS)


def recognised(image: Image) -> str:
    """The format of a file by its own marks; refuses what is known, but not read here."""
    kind = recognise(image.read(0, HEAD_LENGTH), image.tail)
    if kind is VHD_OR_RAW:
        raise UsageProblem(f"{image.path} is {kind.name}: {kind.advice}")
    if not kind.read_as:
        raise Refused("", f"{image.path} is {kind.name}, not a disk image", _advice(image, kind))
    return kind.read_as


def _advice(image: Image, kind: Kind) -> str:
    advice = kind.advice.format(file=image.quoted)
    anyway = "if its bytes are to be a disk as they are: --format raw"
    return advice if "--format raw" in advice else "; ".join(filter(None, [advice, anyway]))


def refuse_packed(image: Image, compression: str, head: bytes, tail: bytes) -> None:
    """Refuse a stream that holds something else than a raw image: only files can be that."""
    kind = recognise(head, tail)
    if kind.read_as == RAW or kind is VHD_OR_RAW:
        return
    raise Refused(
        "",
        f"{image.path} is compressed by {compression}, and in it is {kind.name}",
        f"unpack it and import that: {COMMANDS[compression]} {image.quoted} > NEW",
    )


def tell_of_guess(image: Image, head: bytes, size: int) -> None:
    """A raw image has no mark of its own: say what it is taken for, and on what grounds."""
    content = disks.content(head)
    grounds = (
        f"with {content}" if content else "(there is no partition table or filesystem known here)"
    )
    note(f"{image.path} is taken for a raw disk image of {size:,} bytes {grounds}")
