#!/bin/bash
# A read over a unix socket is answered by nbdkit in three messages, for all its MSG_MORE.
#
# Versions: nbdkit 1.32.5-1, libnbd 1.14.2-1, strace 6.1-0.1 (Debian 12); any Linux.
# Behaviour: nbdkit sends the head, the offset and the data of a read's reply one after the other,
#   the first two with MSG_MORE, so that they leave together. TCP does hold them back. A unix socket
#   takes the flag without an error and without effect: each piece can be read at once, and a
#   client that waits is woken for the head, finds no data, and waits again. On two processors that
#   takes a sixth of the 4 KiB reads a second.
# Output seen:
#   of one read: 20 bytes MSG_MORE, 8 bytes MSG_MORE, 4096 bytes
#   20 bytes sent with MSG_MORE can be read at once: unix True, tcp False
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download nbdkit=1.32.5-1 libnbd-bin=1.14.2-1 \
    libnbd0=1.14.2-1 strace=6.1-0.1
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(echo "$directory"/root/usr/lib/*-linux-gnu)

head -c 4096 /dev/urandom >data
root/usr/bin/strace -f -qq -e trace=sendto -o sent root/usr/bin/nbdkit --foreground \
    --pidfile "$PWD/pid" --unix "$PWD/socket" \
    "$libraries/nbdkit/plugins/nbdkit-file-plugin.so" "$PWD/data" &
until [ -s pid ]; do sleep 0.1; done
LD_LIBRARY_PATH=$libraries root/usr/bin/nbdcopy "nbd+unix:///?socket=$PWD/socket" copy
kill "$(cat pid)"
wait
cmp data copy
pieces=$(sed -nE 's/.*sendto\([0-9]+, .*, ([0-9]+), (MSG_MORE)?0?, NULL, 0\) += [0-9]+$/\1 bytes \2/p' sent |
    grep -B 2 '^4096 bytes' | sed 's/ $//' | paste -sd, | sed 's/,/, /g')
echo "of one read: $pieces"

kernel=$(python3 - <<'END'
import select
import socket


def readable(sender, receiver):
    sender.send(bytes(20), socket.MSG_MORE)
    return bool(select.select([receiver], [], [], 0.1)[0])


with socket.create_server(("127.0.0.1", 0)) as server:
    client = socket.create_connection(server.getsockname())
    tcp = readable(client, server.accept()[0])
print(f"unix {readable(*socket.socketpair())}, tcp {tcp}")
END
)
echo "20 bytes sent with MSG_MORE can be read at once: $kernel"
[[ $pieces == "20 bytes MSG_MORE, 8 bytes MSG_MORE, 4096 bytes" && $kernel == "unix True, tcp False" ]]
