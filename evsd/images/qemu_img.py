"""qemu-img's part: it opens an image, checks it, says where its data are, and copies it.

An image can name other files: a backing file, external data, extents. Who made the image could
make us read any file of this host that way, so such images are refused, and every image is
opened by descriptor, in one format that qemu-img doesn't choose itself.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from evsd.images import nbd, tools
from evsd.images.damage import COPY_AGAIN, REPAIR, Damage, Findings, not_closed, too_short
from evsd.images.errors import ImageError, ToolFailed
from evsd.images.file import HEAD_LENGTH, SECTOR, Image
from evsd.images.memory_file import fd_path, memory_file
from evsd.images.tools import Progress

DRIVERS = {
    "raw": "raw",
    "qcow2": "qcow2",
    "qed": "qed",
    "vmdk": "vmdk",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vdi": "vdi",
    "luks": "luks",
}
_WITH_BACKING = ("qcow2", "qed", "vmdk")
_CHECKED = ("qcow2", "qed", "vmdk", "vhdx", "vdi")
_CORRUPTIONS, _LEAKS = 2, 3  # exit statuses of qemu-img check
_BEHIND_THE_END = "end of the file|outside image|after end of file|after EOF"
_LOG_TO_REPLAY = "contains a log that needs to be replayed"


@dataclass(frozen=True, slots=True)
class Node:
    """An image as qemu-img opens it: this file, this format, and no other file."""

    image: Image
    format: str
    secret: int | None = None  # a descriptor

    @property
    def words(self) -> list[str]:
        """What names it in a command; the last word is the image."""
        node: dict[str, Any] = {
            "driver": DRIVERS[self.format],
            "file": self.image.block_node,
        }
        if self.format in _WITH_BACKING:
            node["backing"] = None
        if self.format == "vhd":
            node["force_size_calc"] = "current_size"
        if self.secret is None:
            return [f"json:{json.dumps(node)}"]
        node["key-secret"] = "s"
        secret = f"secret,id=s,file={fd_path(self.secret)}"
        return ["--object", secret, f"json:{json.dumps(node)}"]

    @property
    def descriptors(self) -> list[int]:
        """What qemu-img has to inherit for it."""
        return self.image.descriptors + ([] if self.secret is None else [self.secret])

    def information(self) -> dict[str, Any]:
        """What qemu-img says of it; refuses what it can't open."""
        words = ["qemu-img", "info", "--output=json", *self.words]
        try:
            answer: dict[str, Any] = json.loads(tools.run(words, descriptors=self.descriptors))
        except ToolFailed as error:
            raise self._unreadable(error) from error
        return answer

    def findings(self, information: dict[str, Any]) -> Findings:
        """What its flags and its own checker say, and whether its data are in the file."""
        found = Findings()
        details = information.get("format-specific", {}).get("data", {})
        if details.get("corrupt"):
            found.damage.append(Damage("is marked as corrupt", REPAIR))
        if information.get("dirty-flag"):
            found.damage.append(not_closed())
        if self.format in _CHECKED:
            found.extend(self._checked())
        if self.format not in ("raw", "luks"):
            # What says most comes first: that the file is short is why its checker complains.
            found.damage = self._behind_the_end() + found.damage
        return found

    def _checked(self) -> Findings:
        words = ["qemu-img", "check", "--output=json", *self.words]
        try:
            answer, said = tools.ask(
                words, descriptors=self.descriptors, accepted=(0, _CORRUPTIONS, _LEAKS)
            )
        except ToolFailed as error:
            return Findings([self._broken(error)])
        counts = json.loads(answer)
        errors, leaks = counts.get("corruptions", 0) + counts["check-errors"], counts.get("leaks")
        if errors and re.search(_BEHIND_THE_END, said):
            short = f"ends too early: its tables lead behind its {self.image.length:,} bytes"
            return Findings([Damage(short)])
        if errors:
            damaged = f"is damaged: errors that qemu-img check finds: {errors}"
            return Findings([Damage(damaged, REPAIR)])
        if leaks:
            note = f"{self.image.path}: unused clusters: {leaks}; no data is missing"
            return Findings(notes=[note])
        return Findings()

    def _broken(self, error: ToolFailed) -> Damage:
        return Damage(f"is damaged: {self._plain(error.said)}", REPAIR)

    def _behind_the_end(self) -> list[Damage]:
        """Whether data of the disk would lie behind the end of the file: they read as zeros."""
        needed = 0
        words = ["qemu-img", "map", "--output=json", *self.words]
        try:
            for line in tools.lines(words, descriptors=self.descriptors):
                extent = json.loads(line.strip(b"[],\n") or b"{}")
                if extent.get("data") and "offset" in extent:
                    needed = max(needed, extent["offset"] + extent["length"])
        except ToolFailed as error:
            return [self._broken(error)]
        # Data of a VHD are followed by its footer, but that is looked at where it is.
        if needed <= self.image.length:
            return []
        return [too_short(self.image.length, needed)]

    def head(self) -> bytes:
        """How the disk in it begins; raises `ToolFailed`."""
        with memory_file() as descriptor:
            *secret, node = self.words
            words = ["qemu-img", "dd", *secret, "-O", "raw", f"bs={HEAD_LENGTH}", "count=1"]
            target = f"of={fd_path(descriptor)}"
            tools.run([*words, f"if={node}", target], descriptors=[*self.descriptors, descriptor])
            return os.pread(descriptor, HEAD_LENGTH, 0)

    def copy_to(self, uri: str, progress: Progress, *, salvage: bool) -> list[str]:
        """Copy it to an export that reads as zeros; returns what could not be read.

        Without `salvage` that is refused.
        """
        words = ["qemu-img", "convert", "-n", "-p", "--target-is-zero", "-t", "writeback"]
        if salvage:
            words.append("--salvage")
        *secret, node = self.words
        # -O names the target's format for the case without --target-image-opts.
        words += [*secret, "-O", "raw", node, uri]
        try:
            said = tools.copy(words, progress, descriptors=self.descriptors)
        except ToolFailed as error:
            if "error while reading" in str(error):
                raise self._unreadable(error) from error
            raise
        nbd.flush(uri)
        # One line for each sector, when it has come to that.
        lost = len(re.findall("error while reading offset", said))
        return [f"{lost * SECTOR:,} bytes could not be read and are zeros"] if lost else []

    def _unreadable(self, error: ToolFailed) -> ImageError:
        path = self.image.path
        if _LOG_TO_REPLAY in error.said:
            damage = not_closed()
            return ImageError(path, f"{damage.what}: its log is to be replayed", damage.remedy)
        if "lock" in error.said:
            return ImageError(path, "is in use: a machine runs from it", "shut it down first")
        said = self._plain(error.said)
        return ImageError(path, f"can't be read as {self.format}: {said}", COPY_AGAIN)

    def _plain(self, said: str) -> str:
        """What qemu-img said first, with the file's name for its own words for it."""
        message = (said.splitlines() or ["qemu-img ended without a word"])[0]
        message = re.sub(r"Could not open 'json:.*?\}\}?': ", "", message)
        message = message.removeprefix("qemu-img: ")
        return self.image.in_words(message)


def refuse_other_files(node: Node, information: dict[str, Any]) -> None:
    """Refuse an image that names other files than its own."""
    details = information.get("format-specific", {}).get("data", {})
    others = [information.get("backing-filename"), details.get("data-file")]
    others += [extent.get("filename") for extent in details.get("extents", [])]
    named = [name for name in others if name is not None and not node.image.is_called(name)]
    if named:
        raise ImageError(
            node.image.path,
            f"needs another file, {named[0]}; such images are refused",
            "if you trust it, flatten it first: qemu-img convert -O qcow2 FILE NEW; "
            "if it is a raw image that only looks so: --format raw",
        )
