"""Compare the data path with its peers: fio over a unix socket, everything on tmpfs.

The servers take turns within every round, so that a busy minute of the machine hits all of them;
what counts are the medians over the rounds and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.volume import new_volume

MIB = 1024 * 1024
SIZE = 256 * MIB
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Job:
    """One fio run; `unit` is what is compared."""

    name: str
    rw: str
    block: int
    depth: int
    unit: str


JOBS = (
    Job("4k random read QD16", "randread", 4096, 16, "IOPS"),
    Job("4k random write QD16", "randwrite", 4096, 16, "IOPS"),
    Job("4k random read QD1", "randread", 4096, 1, "IOPS"),
    Job("4k random write QD1", "randwrite", 4096, 1, "IOPS"),
    Job("256k sequential read QD8", "read", 262144, 8, "MB/s"),
    Job("256k sequential write QD8", "write", 262144, 8, "MB/s"),
)


def main() -> None:
    """Run the comparison, print the table and keep it under bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of every fio run")
    parser.add_argument("--directory", default="/dev/shm")  # noqa: S108
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory, ExitStack() as stack:
        servers = start_servers(Path(directory), stack)
        results = measure(servers, options.rounds, options.seconds, Path(directory))
    text = table(results, options)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "datapath.md").write_text(text)


def start_servers(directory: Path, stack: ExitStack) -> dict[str, str]:
    """Start ours and the peers, filled with the same random data; returns name -> URI."""
    data = directory / "data"
    with data.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    uris = {"evsd": stack.enter_context(evsd(directory))}
    for name, command in peers(directory).items():
        uris[name] = stack.enter_context(server(directory / f"{name.split()[0]}.sock", command))
    for uri in uris.values():
        run("nbdcopy", str(data), uri)
    data.unlink()
    return uris


@contextmanager
def evsd(directory: Path) -> Iterator[str]:
    """Our plugin, as evsd starts it."""
    own = directory / "evsd"
    own.mkdir()
    with new_volume(own, size=SIZE) as volume, volume.served():
        yield volume.uri


def peers(directory: Path) -> dict[str, list[str]]:
    """The other servers' command lines; SOCKET stands for the socket."""
    plain, luks, qemu = (directory / name for name in ("plain", "luks", "qemu"))
    with plain.open("wb") as file:
        file.truncate(SIZE)
    secret = ["--object", "secret,id=s,data=x"]
    for path in (luks, qemu):
        format_luks1(path)
    nbdkit = ["nbdkit", "--foreground", "--unix=SOCKET", "--threads=4"]
    image = f"driver=luks,key-secret=s,file.filename={qemu}"
    return {
        "nbdkit (plain)": [*nbdkit, "file", str(plain)],
        "nbdkit-luks filter": [*nbdkit, "--filter=luks", "file", str(luks), "passphrase=x"],
        "qemu-nbd luks": ["qemu-nbd", *secret, "-t", "-k", "SOCKET", "--image-opts", image],
    }


def format_luks1(path: Path) -> None:
    """An image for the peers, which have no LUKS2; cryptsetup, for qemu-img now and then fails
    with "Unable to get accurate CPU usage".
    """
    with path.open("wb") as file:
        file.truncate(SIZE + 2 * MIB)  # LUKS1's own header takes the 2 MiB
    passphrase = path.with_suffix(".key")
    passphrase.write_text("x")
    cipher = ["--cipher", "aes-xts-plain64", "--key-size", "512"]
    quick = ["--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"]
    run("cryptsetup", "luksFormat", *quick, *cipher, str(path), str(passphrase))


@contextmanager
def server(socket: Path, command: list[str]) -> Iterator[str]:
    """Run a server until the block ends; gives its URI."""
    process = subprocess.Popen([part.replace("SOCKET", str(socket)) for part in command])  # noqa: S603
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.01)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure(
    servers: dict[str, str], rounds: int, seconds: float, directory: Path
) -> dict[Job, dict[str, list[float]]]:
    """Every job on every server, all of them once per round."""
    results: dict[Job, dict[str, list[float]]] = {
        job: {name: [] for name in servers} for job in JOBS
    }
    for turn in range(rounds):
        names = list(servers)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        for job in JOBS:
            for name in names:
                results[job][name].append(fio(job, servers[name], seconds, directory))
    return results


def fio(job: Job, uri: str, seconds: float, directory: Path) -> float:
    """One run; in the job's unit."""
    output = run(
        "fio",
        "--name=bench",
        "--ioengine=nbd",
        f"--uri={uri}",
        f"--rw={job.rw}",
        f"--bs={job.block}",
        f"--iodepth={job.depth}",
        f"--size={SIZE}",
        f"--runtime={seconds}",
        "--time_based",
        "--norandommap",
        "--randrepeat=0",
        "--output-format=json",
        cwd=directory,
    )
    side = json.loads(output[output.index("{") :])["jobs"][0][
        "read" if "read" in job.rw else "write"
    ]
    return float(side["iops"] if job.unit == "IOPS" else side["bw_bytes"] / 1e6)


def table(results: dict[Job, dict[str, list[float]]], options: argparse.Namespace) -> str:
    """Medians, and in brackets how many times as fast as that server ours is."""
    names = list(next(iter(results.values())))
    lines = [
        f"Medians of {options.rounds} rounds of {options.seconds:g} s each; fio's nbd engine,",
        f"unix socket, one connection; on {options.directory}, kernel {platform.release()}.",
        "In brackets: evsd divided by that server.",
        "",
        "| job | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for job, by_name in results.items():
        ours = statistics.median(by_name["evsd"])
        cells = [f"{ours:,.0f}"]
        for name in names[1:]:
            theirs = statistics.median(by_name[name])
            cells.append(f"{theirs:,.0f} ({ours / theirs:.2f})")
        lines.append(f"| {job.name}, {job.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(*command: str, cwd: Path | None = None) -> str:
    """Run to the end; gives standard output."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
