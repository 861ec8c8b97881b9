"""What format the file has that is to be imported, and what to say where that is a guess."""

from __future__ import annotations

from evsd.images import disk_contents
from evsd.images.compressed import COMMANDS
from evsd.images.errors import FormatAmbiguous, ImageError
from evsd.images.file import HEAD_LENGTH, Image
from evsd.images.magic_numbers import RAW, VHD_OR_RAW, Kind, recognise
from evsd.images.qemu_img import DRIVERS

FORMATS = (*DRIVERS, *COMMANDS)


def detect_format(image: Image) -> str:
    """The format of a file by its own marks; refuses what is known, but not read here."""
    kind = recognise(image.read(0, HEAD_LENGTH), image.tail)
    if kind is VHD_OR_RAW:
        raise FormatAmbiguous(image.path, f"is {kind.name}", kind.advice)
    if not kind.read_as:
        raise ImageError(image.path, f"is {kind.name}, not a disk image", _advice(image, kind))
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
    raise ImageError(
        image.path,
        f"is compressed by {compression}, and in it is {kind.name}",
        f"unpack it and import that: {COMMANDS[compression]} {image.quoted} > NEW",
    )


def guess_note(image: Image, head: bytes, size: int) -> str:
    """A raw image has no mark of its own: what it is taken for, and on what grounds."""
    content = disk_contents.content(head)
    grounds = (
        f"with {content}" if content else "(there is no partition table or filesystem known here)"
    )
    return f"{image.path} is taken for a raw disk image of {size:,} bytes {grounds}"
