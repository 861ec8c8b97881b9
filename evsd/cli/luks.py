"""Writing LUKS files without device-mapper: stock cryptsetup makes and opens all headers.

cryptsetup makes a LUKS1 header with a new volume key, qemu-img encrypts into it, and
cryptsetup turns it into LUKS2 and gives it the user's passphrase. Until then it has a random one
of 256 bits, so the few iterations of its slot are no weakness. Neither the volume's data key nor
the new one passes through here, and nothing of the plaintext touches the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from evsd.cli import tools
from evsd.cli.errors import Refused
from evsd.cli.secrets import hidden, passing
from evsd.cli.tools import Progress, by_descriptor

LUKS1_PAYLOAD = 2 * 1024 * 1024  # 4096 sectors: cryptsetup's own default, room for 8 slots
NO_SUCH_KEY = 2  # cryptsetup's exit status for a wrong passphrase
XTS = "aes-xts-plain64"


def encrypt(uri: str, size: int, file: Path, passphrase: bytes, progress: Progress) -> None:
    """Copy what `uri` exports, `size` bytes, into `file` as a stock LUKS2 file."""
    os.truncate(file, LUKS1_PAYLOAD + size)
    with hidden(passing()) as first, hidden(passphrase) as last:
        key = f"--key-file={by_descriptor(first)}"
        cryptsetup(
            "luksFormat",
            "--type=luks1",
            f"--cipher={XTS}",
            "--key-size=512",
            "--hash=sha256",
            f"--align-payload={LUKS1_PAYLOAD // 512}",
            "--pbkdf-force-iterations=1000",
            key,
            str(file),
            descriptors=[first],
        )
        target = f"driver=luks,key-secret=s,file.driver=file,file.filename={_option(file)}"
        tools.copy(
            [
                *("qemu-img", "convert", "-n", "-p", "-t", "writeback", "-f", "raw"),
                *("--object", f"secret,id=s,file={by_descriptor(first)}"),
                *(uri, "--target-image-opts", target),
            ],
            progress,
            descriptors=[first],
        )
        cryptsetup("convert", "--type=luks2", str(file))
        new_key = by_descriptor(last)
        cryptsetup("luksChangeKey", key, str(file), new_key, descriptors=[first, last])


def _option(file: Path) -> str:
    """A file name as a qemu option takes it."""
    return str(file.absolute()).replace(",", ",,")


def cryptsetup(*words: str, descriptors: list[int] | None = None) -> str:
    """Run cryptsetup to its end; returns what it printed. Raises `ToolFailed`, `Refused`."""
    try:
        return tools.run(["cryptsetup", "--batch-mode", *words], descriptors=descriptors or [])
    except tools.ToolFailed as error:
        if error.status == NO_SUCH_KEY:
            raise Refused("", "the passphrase opens no slot of the LUKS file", "") from error
        raise
