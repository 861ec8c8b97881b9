#!/bin/bash
# nbdinfo --map can't map an export of 4 GiB or more that announces a minimum block size above 1.
#
# Versions: libnbd 1.14.2-1, nbdkit 1.32.5-1 (Debian 12).
# Behaviour: nbdinfo asks for the block status of up to 4294967295 bytes in one request, whatever
#   block size the server has announced. libnbd itself checks requests against that size and refuses
#   this one before it is sent. So the map of a 3 GiB export is shown, that of a 4 GiB one never:
#   the tool and the library it belongs to disagree.
# Output seen, with a minimum block size of 512:
#   3G:          0  3221225472    3  hole,zero                                  (exit 0)
#   4G: nbdinfo: nbd_block_status: request is unaligned: Invalid argument       (exit 1)
# A server whose clients are to see its map must announce 1, or stay below 4 GiB.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download nbdkit=1.32.5-1 libnbd-bin=1.14.2-1 libnbd0=1.14.2-1
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(echo "$directory"/root/usr/lib/*-linux-gnu)

map() { # map SIZE: the map of an empty export of that size
    rm -f pid socket
    root/usr/bin/nbdkit --pidfile "$PWD/pid" --unix "$PWD/socket" \
        --filter "$libraries/nbdkit/filters/nbdkit-blocksize-policy-filter.so" \
        "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" "$1" \
        blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=32M
    status=0
    LD_LIBRARY_PATH=$libraries root/usr/bin/nbdinfo --map "nbd+unix:///?socket=$PWD/socket" \
        >output 2>&1 || status=$?
    kill "$(cat pid)"
    echo "$1, exit $status: $(cat output)"
}

small=$(map 3G)
large=$(map 4G)
printf '%s\n' "$small" "$large"
[[ $small == *"exit 0"*"3221225472"*"hole,zero"* && $large == *"exit 1"*"request is unaligned"* ]]
