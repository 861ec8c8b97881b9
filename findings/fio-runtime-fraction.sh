#!/bin/bash
# fio takes a runtime of less than a second, given as a fraction, for none, and does the whole job.
#
# Version: fio 3.33-3 (Debian 12).
# Behaviour: --runtime=0.2 is accepted, and is 0: no limit at all. With --time_based fio says that a
#   runtime is missing, exits with 0, and reads each byte once, however long that takes. 200ms is
#   what it understands. A benchmark that shortens its runs by a fraction measures jobs of another
#   length, and no status tells.
# Output seen, of 16 MiB at 8 MiB a second:
#   0.2: exit 0, 16MiB, fio: time_based requires a runtime/timeout setting
#   200ms: exit 0, less than 16MiB
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download fio=3.33-3
dpkg-deb -x fio_*.deb root

job() { # job RUNTIME: how it ended, and how much was read
    local status=0
    root/usr/bin/fio --name=job --ioengine=null --rw=read --bs=4k --size=16m --rate=8m \
        --time_based --runtime="$1" >output 2>&1 || status=$?
    local said read
    said=$(grep -o 'fio: .*' output || true)
    read=$(sed -nE 's/.*io=([0-9.]+[A-Za-z]+) .*/\1/p' output | head -1)
    [ "$read" = 16.0MiB ] || read="less than 16MiB"
    echo "$1: exit $status, ${read/.0/}${said:+, $said}"
}

fraction=$(job 0.2)
milliseconds=$(job 200ms)
printf '%s\n' "$fraction" "$milliseconds"
[[ $fraction == "0.2: exit 0, 16MiB, fio: time_based requires a runtime/timeout setting" ]]
[[ $milliseconds == "200ms: exit 0, less than 16MiB" ]]
