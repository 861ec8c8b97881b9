"""What a file is, by the marks that formats put at their beginning or end.

What is no disk image but holds one, in a way that no tool here reads safely, is known too, so that
it is not taken for a raw image: a raw image has no mark of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

RAW = "raw"
ISO_MARK = slice(32769, 32774)


@dataclass(frozen=True, slots=True)
class Kind:
    """A format that is read, or one that is refused and how to get at the image in it."""

    name: str
    read_as: str = ""
    advice: str = ""  # {file} is the file's name


def _read(name: str) -> Kind:
    return Kind(name, read_as=name)


def _archive(name: str, command: str) -> Kind:
    return Kind(name, advice=f"take the image out of it: {command}")


def _packed(name: str, command: str) -> Kind:
    return Kind(name, advice=f"unpack it: {command} > NEW; then import NEW")


def _converted(name: str, command: str) -> Kind:
    return Kind(name, advice=f"convert it: {command}; then import NEW")


_QEMU = "qemu-img convert -f {driver} -O qcow2 {{file}} NEW"
_PARALLELS = Kind(
    "a Parallels disk, which may be a part of one: its DiskDescriptor.xml says",
    advice="if it is the only image there: " + _QEMU.format(driver="parallels"),
)
_EXTENT = Kind(
    "an extent of an ESX disk, not the disk",
    advice="convert the disk: qemu-img convert -f vmdk -O qcow2 DESCRIPTOR.vmdk NEW",
)
_EWF = _converted("an EnCase (EWF) image", "ewfexport -t - -f raw {file} > NEW")
_AFF = _converted("an AFF image", "affconvert -r {file}")
_DMG = _converted("an Apple disk image", _QEMU.format(driver="dmg"))
_DMG_ENCRYPTED = Kind("an encrypted Apple disk image", advice="decrypt it: hdiutil convert")
_ZIP = _archive("a zip archive", "unzip {file}")
_RAR = _archive("a rar archive", "unrar x {file}")
_CPIO = _archive("a cpio archive", "cpio -id < {file}")
_GHOST = Kind("a Ghost image", advice="restore it to a disk with Ghost, and import that disk")

# (where, mark, kind); the first that fits counts.
_AT_THE_BEGINNING = (
    (0, b"QFI\xfb\0\0\0\1", _converted("a qcow image of version 1", _QEMU.format(driver="qcow"))),
    (0, b"QFI\xfb", _read("qcow2")),
    (0, b"QED\0", _read("qed")),
    (0, b"KDMV", _read("vmdk")),
    (0, b"# Disk Des", _read("vmdk")),
    (0, b"vhdxfile", _read("vhdx")),
    (0, b"conectix", _read("vhd")),
    (64, b"\x7f\x10\xda\xbe", _read("vdi")),
    (0, b"LUKS\xba\xbe", _read("luks")),
    (0, b"\x1f\x8b\x08", _read("gzip")),
    (0, b"\xfd7zXZ\0", _read("xz")),
    (0, b"BZh", _read("bzip2")),
    (0, b"\x28\xb5\x2f\xfd", _read("zstd")),
    (0, b"\x04\x22\x4d\x18", _packed("compressed by lz4", "lz4 -dc {file}")),
    (0, b"LZIP\1", _packed("compressed by lzip", "lzip -dc {file}")),
    (0, b"\x89LZO\0\r\n\x1a\n", _packed("compressed by lzop", "lzop -dc {file}")),
    (0, b"\x5d\0\0\x80\0", _packed("compressed by lzma", "xz -dc --format=lzma {file}")),
    (0, b"\x5d\0\0\0\4", _packed("compressed by lzma", "xz -dc --format=lzma {file}")),
    (0, b"\x1f\x9d\x90", _packed("compressed by compress", "gzip -dc {file}")),
    (0, b"COWD", _EXTENT),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", _EXTENT),
    (0, b"WithoutFreeSpace", _PARALLELS),
    (0, b"WithouFreSpacExt", _PARALLELS),
    (0, b"Bochs Virtual HD Image", _converted("a Bochs disk", _QEMU.format(driver="bochs"))),
    (0, b"#!/bin/sh\n#V2.0 Format", _converted("a cloop image", _QEMU.format(driver="cloop"))),
    (0, b"encrcdsa", _DMG_ENCRYPTED),
    (0, b"PK\3\4", _ZIP),
    (0, b"PK\5\6", _ZIP),
    (0, b"7z\xbc\xaf\x27\x1c", _archive("a 7z archive", "7z x {file}")),
    (0, b"Rar!\x1a\7", _RAR),
    (257, b"ustar", _archive("a tar or OVA archive", "tar -xf {file}")),
    (0, b"070701", _CPIO),
    (0, b"070702", _CPIO),
    (0, b"!<arch>\n", _archive("an ar archive", "ar x {file}")),
    (0, b"MSCF\0\0\0\0", _archive("a cabinet archive", "cabextract {file}")),
    (0, b"MSWIM\0\0\0", _archive("a WIM archive", "wimextract {file} 1")),
    (0, b"VMA\0", _archive("a Proxmox backup", "vma extract {file} DIRECTORY")),
    (0, b"EVF\x09\x0d\x0a\xff\0", _EWF),
    (0, b"EVF2\r\n\x81\0", _EWF),
    (0, b"AFF10\r\n\0", _AFF),
    (0, b"partclone-image", _converted("a partclone image", "partclone.restore -s {file} -O NEW")),
    (0, b"PaRtImAgE-VoLuMe", Kind("a partimage image", advice="restore it with partimage")),
    (0, b"\0ntfsclone-image", _converted("an ntfsclone image", "ntfsclone -r -O NEW {file}")),
    (0, b"FsArCh_00", Kind("an fsarchiver archive", advice="restore it with fsarchiver")),
    (0, b"\xfe\xef\1", _GHOST),
    (0, b"\x3a\xff\x26\xed", _converted("an Android sparse image", "simg2img {file} NEW")),
    (0, b"rbd diff v1\n", _archive("an RBD diff", "rbd import-diff {file} IMAGE")),
    (0, b"rbd image v2\n", _archive("an RBD export", "rbd import --export-format 2 {file} IMAGE")),
    (0, b"btrfs-stream\0", _archive("a btrfs stream", "btrfs receive -f {file} DIRECTORY")),
    (8, b"\xac\xcb\xba\xf5\2\0\0\0", _archive("a ZFS stream", "zfs receive DATASET < {file}")),
    (0, b"age-encryption.org/", _packed("encrypted by age", "age -d {file}")),
    (0, b"Salted__", _packed("encrypted by openssl", "openssl enc -d ... -in {file}")),
    (0, b"\x7fELF", Kind("a program")),
)
_AT_THE_END = (
    (b"koly", _DMG),
    (b"cdsaencr", _DMG_ENCRYPTED),
)
_ISO = Kind(
    "a CD or DVD image (ISO 9660 or UDF)",
    advice="if a volume is to hold its bytes as they are, as a USB stick would: --format raw",
)
_TEXT = Kind("a text file", advice="was it downloaded whole? Its first lines tell what it is")
# A fixed VHD has its mark at the end only, where any guest could have written it.
VHD_OR_RAW = Kind("a fixed VHD, or a raw image", advice="say --format vhd or --format raw")


def recognise(head: bytes, tail: bytes) -> Kind:
    """What a file is by its first 128 KiB and its last 512 bytes; raw if they say nothing."""
    for offset, magic, kind in _AT_THE_BEGINNING:
        if head.startswith(magic, offset):
            return kind
    for magic, kind in _AT_THE_END:
        if tail.startswith(magic) or tail.endswith(magic):
            return kind
    if head[ISO_MARK] in (b"CD001", b"BEA01"):
        return _ISO
    if tail.startswith(b"conectix"):
        return VHD_OR_RAW
    return _TEXT if _is_text(head[:4096]) else Kind("raw", read_as=RAW)


def _is_text(head: bytes) -> bool:
    """Whether it begins as text; a page that says why there is no image, for instance."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) > 2:
        return _printable(head[: len(head) // 2 * 2].decode("utf-16", errors="replace"))
    # What is cut within a character is replaced by one that is printable enough.
    text = head.decode(errors="replace")
    return "\N{REPLACEMENT CHARACTER}" not in text[:-1] and _printable(text[:-1] or text)


def _printable(text: str) -> bool:
    # One character over and over is a pattern that a disk was filled with.
    return len(set(text)) > 4 and all(c.isprintable() or c in "\t\n\v\f\r\x1b\ufeff" for c in text)
