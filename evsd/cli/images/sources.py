"""Images that were looked at: how large the disk is, what is wrong with it, how it is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from evsd.cli import tools
from evsd.cli.attachments import socket_of
from evsd.cli.errors import Refused
from evsd.cli.images import compressed, disks, luks, qcow2, qed, vhd, vhdx, vmdk
from evsd.cli.images.damage import COPY_AGAIN, Damage
from evsd.cli.images.file import HEAD_LENGTH, SECTOR, Image
from evsd.cli.images.qemu import Node, refuse_other_files
from evsd.cli.images.recognising import refuse_packed, tell_of_guess
from evsd.cli.tools import Progress
from evsd.connector.writing import write_data

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


class Source(Protocol):
    """A disk that can be copied."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def damage(self) -> list[Damage]:
        """What is wrong with the image."""

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        """Copy it to an export that reads as zeros; returns what could not be read.

        Without `salvage` that is refused.
        """


def inspected(
    image: Image, image_format: str, progress: Progress, *, secret: int | None, guessed: bool
) -> Source:
    """Look at an image; `secret` is the descriptor of a LUKS passphrase, which is tried.

    Refuses what is not a disk, or not all of one. What else is wrong the source tells.
    """
    if image_format in compressed.COMMANDS:
        source: Source = _compressed(image, image_format, progress)
    elif image_format == "luks":
        assert secret is not None  # noqa: S101 - this format was asked for it
        source = _luks(image, secret)
    else:
        source = _by_qemu(image, image_format, guessed=guessed)
    if source.size <= 0:
        raise Refused("", f"{image.path} holds a disk of 0 bytes", "")
    return source


@dataclass(frozen=True, slots=True)
class _ByQemu:
    node: Node
    size: int
    damage: list[Damage]

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        return self.node.copy_to(uri, progress, salvage=salvage)


def _by_qemu(image: Image, image_format: str, *, guessed: bool) -> Source:
    damage = _BEFORE.get(image_format, _nothing)(image)
    node = Node(image, image_format)
    information = _information(node, damage)
    refuse_other_files(node, information)
    if image_format == "vmdk":
        vmdk.refuse_delta(image, information["format-specific"]["data"]["parent-cid"])
    if information.get("encrypted"):
        raise Refused("", f"{image.path}: an encrypted {image_format} image can't be read", "")
    size = int(information["virtual-size"])
    damage = damage or node.damage(information) or _AFTER.get(image_format, _nothing)(image)
    if image_format == "raw":
        size = image.length
        damage += _odd(image) if guessed else []
    return _ByQemu(node, size, damage or _cut(node, size, guessed=guessed))


def _information(node: Node, damage: list[Damage]) -> dict[str, Any]:
    """What qemu-img says; where it opens nothing, what was found before says more."""
    try:
        return node.information()
    except Refused as error:
        if not damage:
            raise
        raise Refused("", f"{node.image.path} {damage[0].what}", damage[0].remedy) from error


def _odd(image: Image) -> list[Damage]:
    """No disk ends inside a sector. What was named a raw image need not be one of a disk."""
    if image.length % SECTOR == 0:
        return []
    return [Damage(f"has {image.length:,} bytes, no whole sectors of 512: it was cut")]


def _cut(node: Node, size: int, *, guessed: bool) -> list[Damage]:
    try:
        head = node.head()
    except tools.ToolFailed as error:
        return [Damage(f"is damaged: its first sectors can't be read ({error})")]
    if guessed and node.format == "raw":
        tell_of_guess(node.image, head, size)
    return disks.cut(head, size)


# --- what is read here ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Luks2:
    image: Image
    payload: luks.Payload
    secret: int
    damage: list[Damage]

    @property
    def size(self) -> int:
        return self.payload.size

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        del salvage  # what is missing is behind the part that is read
        pieces = luks.decrypted(self.image, self.payload, self.secret)
        write_data(socket_of(uri), _not_zero(pieces, self.size, progress))
        return []


def _luks(image: Image, secret: int) -> Source:
    luks.refuse_own_volume(image)
    luks.check_passphrase(image, secret)
    if not luks.is_luks2(image):
        damage = luks.luks1_damage(image)
        node = Node(image, "luks", secret)
        size = int(node.information()["virtual-size"])
        return _ByQemu(node, size, damage or _cut(node, size, guessed=False))
    payload, damage = luks.payload(image)
    head = b""
    for _, piece in luks.decrypted(image, payload, secret):
        head += piece
        if len(head) >= HEAD_LENGTH:
            break
    return _Luks2(image, payload, secret, damage or disks.cut(head, payload.size))


@dataclass(frozen=True, slots=True)
class _Compressed:
    image: Image
    compression: str
    size: int
    damage: list[Damage]

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        write_data(socket_of(uri), _not_zero(self._pieces(salvage), self.size, progress))
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
                raise Refused("", f"{self.image.path} {error}", COPY_AGAIN) from error
        if offset != self.size:
            raise self.image.changed()


def _compressed(image: Image, compression: str, progress: Progress) -> Source:
    content = compressed.content(image, compression, progress)
    if content.size:
        refuse_packed(image, compression, content.head, content.tail)
    damage = [] if content.broken is None else [Damage(content.broken)]
    if content.size % SECTOR and not damage:
        damage = [Damage(f"holds {content.size:,} bytes, no whole sectors of 512: it was cut")]
    if damage and not content.size:
        raise Refused("", f"{image.path} {damage[0].what}", damage[0].remedy)
    if not damage:
        tell_of_guess(image, content.head, content.size)
    damage = damage or disks.cut(content.head, content.size)
    return _Compressed(image, compression, content.size, damage)


def _not_zero(
    pieces: Iterable[tuple[int, bytes]], size: int, progress: Progress
) -> Iterator[tuple[int, bytes]]:
    for offset, piece in pieces:
        if piece.count(0) != len(piece):
            yield offset, piece
        progress(100 * offset // size)
