"""The main job, step by step, on real parts: what `make run` shows.

Every step is a command that is printed as one would type it. The tour leaves evsd running in
RUN_DIR/state; `make clean` stops it and removes RUN_DIR. A second run uses the same evsd and key
and a new volume.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VENV_BIN = Path(sys.executable).parent
KEY = "tour-key"
SOURCE = Path("/usr/share/common-licenses")
# A phrase of the copied files: what must not be found in the volume's file.
PLAINTEXT = b"GNU GENERAL PUBLIC LICENSE"
START_TIMEOUT_S = 180


class TourFailed(Exception):
    """A step did not do what it must."""


class Tour:
    """One run of the tour in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.state = self.directory / "state"
        self.mountpoint = self.directory / "mnt"
        self.socket = self.state / "evsd.sock"
        self.environment = {
            **os.environ,
            "PATH": f"{VENV_BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "EVSD_ENDPOINT": f"unix://{self.socket}",
        }

    def run(self) -> None:
        """All steps in order."""
        self.start_evsd()
        volume = self.create()
        device = self.write_files(volume)
        self.show_ciphertext(volume)
        self.disable_key(volume, device)
        self.enable_key_and_compare(volume)
        self.say_what_next(volume)

    # --- the steps -----------------------------------------------------------------------------

    def start_evsd(self) -> None:
        """A fresh one, unless one runs already."""
        heading("Start evsd on embedded defaults: SoftHSM2 token, SQLite, a pool of files")
        self.mountpoint.mkdir(parents=True, exist_ok=True)
        if self.accepts():
            print(f"  evsd runs already on {self.state}")
            return
        command = ["evsd", "--state-dir", str(self.state)]
        print(f"  $ {shlex.join(command)} &")
        with (self.directory / "evsd.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.directory / "evsd.pid").write_text(f"{process.pid}\n")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.accepts():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TourFailed(f"evsd did not start, see {self.directory}/evsd.log")
            time.sleep(0.05)
        process.returncode = 0  # it goes on without us

    def create(self) -> str:
        """A key, the delegation and a volume; returns its name."""
        heading("Create a master key in the HSM, let the volume service use it, create a volume")
        keys = json.loads(self.quiet("evsctl --output json key list"))["key_details"]
        if KEY not in [key["key_alias"] for key in keys]:
            self.shell(f"evsctl key create {KEY}")
        self.shell("evsctl delegation create")
        volumes = json.loads(self.quiet("evsctl --output json list"))["volumes"]
        taken = {volume["name"] for volume in volumes}
        names = (f"tour-{number}" for number in range(1, len(taken) + 2))
        name = next(name for name in names if name not in taken)
        self.shell(f"evsctl create {name} --size 1G --key {KEY}")
        return name

    def write_files(self, volume: str) -> str:
        """Files on a filesystem on the volume; returns its device."""
        heading("Attach it, make a filesystem, put files on it")
        device = self.shell(f"evsctl attach {volume}").strip()
        self.shell(f"mkfs.ext4 -q {device}")
        with self.mounted(device):
            self.shell(f"cp -r {SOURCE} {self.mountpoint}")
            self.shell(f"df -h {self.mountpoint}")
        return device

    def show_ciphertext(self, volume: str) -> None:
        """The pool's file, in which no plaintext is found."""
        heading("On disk there is ciphertext")
        file = self.pool_file(volume)
        self.shell(f"hexdump -C -s $((1024 * 1024 + 1024)) -n 64 {file}")
        found = find(file, PLAINTEXT)
        print(f'  "{PLAINTEXT.decode()}" in {file.name}: {found} times')
        if found:
            raise TourFailed("plaintext in the pool")

    def disable_key(self, volume: str, device: str) -> None:
        """What a disabled key stops, and what not."""
        heading("Disable the key: attached, the volume goes on; detached, it stays so")
        self.shell(f"evsctl key disable {KEY} --yes")
        with self.mounted(device):
            self.shell(f"ls {self.mountpoint}")
        self.shell(f"evsctl detach {volume}")
        self.refused(f"evsctl attach {volume}")

    def enable_key_and_compare(self, volume: str) -> None:
        """The files are as they were written."""
        heading("Enable the key: the data is intact")
        self.shell(f"evsctl key enable {KEY}")
        device = self.shell(f"evsctl attach {volume}").strip()
        with self.mounted(device):
            self.shell(f"diff -r {SOURCE} {self.mountpoint}/{SOURCE.name}")
            copied = self.mountpoint / SOURCE.name / "GPL-3"
            print(f"  SHA-256 of {copied.name}: {hashlib.sha256(copied.read_bytes()).hexdigest()}")
        self.shell(f"evsctl detach {volume}")

    def say_what_next(self, volume: str) -> None:
        """What may be typed next."""
        heading("Done. evsd runs on; next you may type")
        print(f"  export EVSD_ENDPOINT=unix://{self.socket} PATH={VENV_BIN}:$PATH")
        print(f"  evsctl attach {volume}")
        print("  evsctl --help")
        print("\nmake clean stops evsd and removes its state.")

    # --- tools ---------------------------------------------------------------------------------

    def accepts(self) -> bool:
        """Whether evsd listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @contextlib.contextmanager
    def mounted(self, device: str) -> Iterator[None]:
        """The device, mounted until the end of the block."""
        self.shell(f"mount {device} {self.mountpoint}")
        try:
            yield
        finally:
            self.shell(f"umount {self.mountpoint}")

    def pool_file(self, volume: str) -> Path:
        """Where a volume's ciphertext is."""
        shown = json.loads(self.quiet(f"evsctl --output json show {volume}"))
        return self.state / "pool" / f"{shown['volume']['id']}.luks"

    def shell(self, command: str) -> str:
        """Show and run a command that must succeed; returns what it printed."""
        print(f"  $ {command}", flush=True)
        done = self.execute(command)
        print(indent(done.stdout + done.stderr), end="", flush=True)
        if done.returncode != 0:
            raise TourFailed(f"{command}: exit status {done.returncode}")
        return done.stdout

    def refused(self, command: str) -> None:
        """Show and run a command that must be refused."""
        print(f"  $ {command}", flush=True)
        done = self.execute(command)
        print(indent(done.stdout + done.stderr), end="", flush=True)
        if done.returncode != 1:
            raise TourFailed(f"{command}: exit status {done.returncode}, must be 1")

    def quiet(self, command: str) -> str:
        """Run a command that must succeed, and don't show it."""
        done = self.execute(command)
        if done.returncode != 0:
            raise TourFailed(f"{command}: {done.stderr}")
        return done.stdout

    def execute(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; its exit status is the caller's to judge."""
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )


def find(file: Path, phrase: bytes) -> int:
    """How often a phrase is in a (sparse) file."""
    count, tail = 0, b""
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 24):
            count += (tail + chunk).count(phrase)
            tail = chunk[-len(phrase) + 1 :]
    return count


def heading(text: str) -> None:
    """Say what comes next."""
    print(f"\n{text}")


def indent(text: str) -> str:
    """What a command printed, as part of the tour."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def main() -> None:
    """Run the tour in the directory named on the command line."""
    started = time.monotonic()
    try:
        Tour(Path(sys.argv[1])).run()
    except TourFailed as error:
        sys.exit(f"\nThe tour failed: {error}")
    print(f"\nThe tour took {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
