#!/bin/bash
# qemu 7.2.22 (Debian 12): an NBD disk whose server came back with a larger export can't be resized
# until the guest has made a request.
#
# One would take block_resize for the way to have qemu look at an export's new size, or a reconnect
# for enough. But qemu, told to wait for its server (reconnect-delay), connects again only when
# there is something to ask. Until then block_resize is refused as impossible, "Cannot grow NBD
# nodes"; one read later, of any sector, the very same command is carried out.
#
# Seen:
#   before a request: Cannot grow NBD nodes; 1073741824 bytes
#   after one: done; 2147483648 bytes
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-query -W -f '${Package} ${Version}\n' qemu-system-x86 nbdkit 2>/dev/null ||
    apt-get install -y -qq --no-install-recommends qemu-system-x86 nbdkit >/dev/null

/usr/bin/python3 - "$work" <<'PYTHON'
import json, pathlib, socket, subprocess, sys, time

work = pathlib.Path(sys.argv[1])
nbd, qmp = work / "nbd", work / "qmp"


def start(path, *command):
    path.unlink(missing_ok=True)
    process = subprocess.Popen(command)
    while not path.exists():
        time.sleep(0.05)
    return process


def serve(size):
    return start(nbd, "nbdkit", "--foreground", "--unix", str(nbd), "memory", size)


def ask(command, **arguments):
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    while "event" in (answer := json.loads(lines.readline())):
        pass
    return answer


def resize():
    answer = ask("block_resize", **{"node-name": "disk", "size": 2 << 30})
    nodes = ask("query-named-block-nodes")["return"]
    [size] = [node["image"]["virtual-size"] for node in nodes if node["node-name"] == "disk"]
    return answer.get("error", {"desc": "done"})["desc"], size


server = serve("1G")
where = {"type": "unix", "path": str(nbd)}
disk = {"driver": "nbd", "node-name": "disk", "reconnect-delay": 60, "server": where}
qemu = start(
    qmp,
    *"qemu-system-x86_64 -accel tcg -machine q35 -nodefaults -display none -S".split(),
    *("-qmp", f"unix:{qmp},server=on,wait=off"),
    *("-blockdev", json.dumps(disk), "-device", "virtio-blk-pci,drive=disk"),
)
try:
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(str(qmp))
    lines = channel.makefile("rw")
    lines.readline()
    ask("qmp_capabilities")  # it has its disk by now
    server.kill()
    server.wait()
    server = serve("2G")
    before = resize()
    ask("human-monitor-command", **{"command-line": 'qemu-io disk "read 0 512"'})
    after = resize()
finally:
    qemu.kill()
    server.kill()
print(f"before a request: {before[0]}; {before[1]} bytes\nafter one: {after[0]}; {after[1]} bytes")
assert before == ("Cannot grow NBD nodes", 1 << 30) and after == ("done", 2 << 30)
PYTHON
