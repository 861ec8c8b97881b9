"""Images that were looked at: how large the disk is, what is wrong with it, how it is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from evsd.images import (
    compressed,
    disk_contents,
    luks_read,
    nbd,
    qcow2,
    qed,
    vhd,
    vhdx,
    vmdk,
)
from evsd.images.damage import COPY_AGAIN, Damage, Findings
from evsd.images.detect import guess_note, refuse_packed
from evsd.images.errors import ImageError, ToolFailed
from evsd.images.file import HEAD_LENGTH, SECTOR, Image, ImageFile
from evsd.images.qemu_img import Node, refuse_other_files
from evsd.images.tools import Progress

# What qemu-img does not look at, by format; asked before qemu-img opens the file ...
_BEFORE: dict[str, Callable[[Image], list[Damage]]] = {
    "qed": qed.damage,
    "vmdk": vmdk.damage,
    "vhd": vhd.damage,
    "vhdx": vhdx.damage,
}
# ... and where it has found nothing.
_AFTER: dict[str, Callable[[Image], list[Damage]]] = {"qcow2": qcow2.damage}


def _nothing(_: Image) -> list[Damage]:
    return []


_UNPACK = "make a raw or qcow2 image of it first; evsctl import makes a volume of one as it is"


class Source(Protocol):
    """A disk that can be copied."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def findings(self) -> Findings:
        """What is wrong with the image."""

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        """Copy it to an NBD export that reads as zeros, to disk; returns what could not be read.

        Without `salvage` that is refused.
        """


def inspect(
    image: Image,
    image_format: str,
    progress: Progress,
    *,
    passphrase: Callable[[], bytes],
    guessed: bool,
) -> Source:
    """Look at an image, all of it; `passphrase` is asked for that of a LUKS file, which is tried.

    Refuses what is not a disk, or not all of one. What else is wrong the source tells.
    """
    if image_format in compressed.COMMANDS:
        source: Source = _compressed(_file(image, image_format), image_format, progress)
    elif image_format == "luks":
        source = _luks(_file(image, image_format), passphrase)
    else:
        source = _by_qemu(image, image_format, guessed=guessed)
    if source.size <= 0:
        raise ImageError(image.path, "holds a disk of 0 bytes")
    return source


def _file(image: Image, image_format: str) -> ImageFile:
    if not isinstance(image, ImageFile):
        raise ImageError(image.path, f"is {image_format}, which is only read from a file", _UNPACK)
    return image


@dataclass(frozen=True, slots=True)
class _ByQemu:
    node: Node
    size: int
    findings: Findings

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        return self.node.copy_to(uri, progress, salvage=salvage)


def _by_qemu(image: Image, image_format: str, *, guessed: bool) -> Source:
    found = Findings(_BEFORE.get(image_format, _nothing)(image))
    node = Node(image, image_format)
    information = _information(node, found.damage)
    refuse_other_files(node, information)
    if image_format == "vmdk":
        vmdk.refuse_delta(image, information["format-specific"]["data"]["parent-cid"])
    if information.get("encrypted"):
        state = f"an encrypted {image_format} image can't be read"
        raise ImageError(image.path, state, between=": ")
    size = int(information["virtual-size"])
    if not found.damage:
        found = node.findings(information)
    if not found.damage:
        found.damage += _AFTER.get(image_format, _nothing)(image)
    if image_format == "raw":
        size = image.length
        found.damage += _odd(image) if guessed else []
    if not found.damage:
        found.extend(_contents(node, size, guessed=guessed))
    return _ByQemu(node, size, found)


def _information(node: Node, damage: list[Damage]) -> dict[str, Any]:
    """What qemu-img says; where it opens nothing, what was found before says more."""
    try:
        return node.information()
    except ImageError as error:
        if not damage:
            raise
        raise ImageError(node.image.path, damage[0].what, damage[0].remedy) from error


def _odd(image: Image) -> list[Damage]:
    """No disk ends inside a sector. What was named a raw image need not be one of a disk."""
    if image.length % SECTOR == 0:
        return []
    return [Damage(f"has {image.length:,} bytes, no whole sectors of 512: it was cut")]


def _contents(node: Node, size: int, *, guessed: bool) -> Findings:
    """What the beginning of the disk tells of it."""
    try:
        head = node.head()
    except ToolFailed as error:
        return Findings([Damage(f"is damaged: its first sectors can't be read ({error})")])
    raw = guessed and node.format == "raw"
    notes = [guess_note(node.image, head, size)] if raw else []
    return Findings(disk_contents.cut(head, size), notes)


# --- what is read here ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Luks2:
    image: ImageFile
    payload: luks_read.Payload
    secret: int
    findings: Findings

    @property
    def size(self) -> int:
        return self.payload.size

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        del salvage  # what is missing is behind the part that is read
        pieces = luks_read.decrypted(self.image, self.payload, self.secret)
        nbd.write_sparse(uri, pieces, self.size, progress)
        return []


def _luks(image: ImageFile, passphrase: Callable[[], bytes]) -> Source:
    luks_read.refuse_own_volume(image)
    secret = image.keep(passphrase())
    luks_read.check_passphrase(image, secret)
    if luks_read.is_luks2(image):
        return _luks2(image, secret)
    found = Findings(luks_read.luks1_damage(image))
    node = Node(image, "luks", secret)
    size = int(node.information()["virtual-size"])
    if not found.damage:
        found = _contents(node, size, guessed=False)
    return _ByQemu(node, size, found)


def _luks2(image: ImageFile, secret: int) -> Source:
    payload, damage = luks_read.payload(image)
    head = b""
    for _, piece in luks_read.decrypted(image, payload, secret):
        head += piece
        if len(head) >= HEAD_LENGTH:
            break
    damage = damage or disk_contents.cut(head, payload.size)
    return _Luks2(image, payload, secret, Findings(damage))


@dataclass(frozen=True, slots=True)
class _Compressed:
    image: ImageFile
    compression: str
    size: int
    findings: Findings

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        nbd.write_sparse(uri, self._pieces(salvage), self.size, progress)
        return []

    def _pieces(self, salvage: bool) -> Iterator[tuple[int, bytes]]:
        """What was counted before, in whole sectors."""
        offset = 0
        try:
            for piece in compressed.pieces(self.image, self.compression):
                if offset + len(piece) <= self.size:
                    yield offset, piece.ljust(-(-len(piece) // SECTOR) * SECTOR, b"\0")
                offset += len(piece)
        except compressed.Broken as error:
            if not salvage:
                raise ImageError(self.image.path, str(error), COPY_AGAIN) from error
        if offset != self.size:
            raise self.image.changed()


def _compressed(image: ImageFile, compression: str, progress: Progress) -> Source:
    content = compressed.content(image, compression, progress)
    if content.size:
        refuse_packed(image, compression, content.head, content.tail)
    damage = [] if content.broken is None else [Damage(content.broken)]
    if content.size % SECTOR and not damage:
        damage = [Damage(f"holds {content.size:,} bytes, no whole sectors of 512: it was cut")]
    if damage and not content.size:
        raise ImageError(image.path, damage[0].what, damage[0].remedy)
    notes = [] if damage else [guess_note(image, content.head, content.size)]
    damage = damage or disk_contents.cut(content.head, content.size)
    return _Compressed(image, compression, content.size, Findings(damage, notes))
