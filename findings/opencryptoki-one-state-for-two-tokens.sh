#!/bin/bash
# opencryptoki 3.8.1 (Debian 12): two soft tokens with directories, daemons, mount namespaces and
# IPC namespaces of their own still share what a running program believes of its token.
#
# One would take a token for what is in its directory, and an IPC namespace for enough. But the
# flags and the list of keys are in a file in /dev/shm that is named after the directory's path
# alone; POSIX shared memory is no part of an IPC namespace. A new program reads its token's files
# into it, over what is there, so pkcsconf always shows the right token, while a program that was
# running goes on with the other's: here it is told that its PIN has expired, since the other
# token was initialised anew. Containers that have one path and one /dev/shm do this to each other.
# With a tmpfs of its own on /dev/shm it does not happen.
#
# Seen:
#   /dev/shm shared: PinExpired
#   /dev/shm of its own: a key was made
#
# Needs root, for the namespaces.
set -euo pipefail
[ "${1-}" = inside ] || exec unshare --mount bash "$0" inside
mount -t tmpfs none /dev/shm # what the two share, and nobody else
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-query -W -f '${Package} ${Version}\n' opencryptoki 2>/dev/null ||
    apt-get install -y -qq opencryptoki >/dev/null
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet python-pkcs11==0.10.1

# $1: the directories that are this token's own; then what to run beside its daemon.
cat >"$work/token" <<'TOKEN'
set -eu
for directory in $1; do mount -t tmpfs none "$directory"; done
shift
mkdir -p /run/lock/opencryptoki/swtok /run/opencryptoki /var/lib/opencryptoki/swtok/TOK_OBJ
printf 'version opencryptoki-3.8\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n' >/run/conf
mount --bind /run/conf /etc/opencryptoki/opencryptoki.conf
pkcsslotd -f >/run/log 2>&1 &
trap 'kill %1; wait' EXIT
until pkcsconf -s >/dev/null 2>&1; do sleep 0.1; done
{
    echo token | pkcsconf -c 3 -I -S 87654321
    pkcsconf -c 3 -P -S 87654321 -n 76543210
    pkcsconf -c 3 -u -S 76543210 -n 12345678
    pkcsconf -c 3 -p -U 12345678 -n 11223344
} >/dev/null 2>&1
"$@"
TOKEN
cat >"$work/use.py" <<'PYTHON'
import subprocess, sys, pkcs11
token = pkcs11.lib("libopencryptoki.so.0").get_token(token_label="token")
with token.open(rw=True, user_pin="11223344") as session:
    subprocess.run(sys.argv[1:], check=True)  # what happens to the other token meanwhile
    try:
        session.generate_key(pkcs11.KeyType.AES, 256)
        print("a key was made")
    except pkcs11.exceptions.PKCS11Error as error:
        print(type(error).__name__)
PYTHON

# Before the one token's namespaces are entered, a shell that can make the other's waits for a word.
seen() {
    mkfifo "$work/ask" "$work/done"
    (
        read -r _ <"$work/ask"
        unshare --mount --ipc bash "$work/token" "$1" \
            sh -c 'echo anew | pkcsconf -c 3 -I -S 76543210 >/dev/null'
        echo >"$work/done"
    ) &
    unshare --mount --ipc bash "$work/token" "$1" "$work/venv/bin/python" "$work/use.py" \
        sh -c "echo >'$work/ask'; read -r _ <'$work/done'"
    wait
    rm "$work/ask" "$work/done"
}

shared=$(seen "/run /var/lib/opencryptoki")
echo "/dev/shm shared: $shared"
own=$(seen "/run /var/lib/opencryptoki /dev/shm")
echo "/dev/shm of its own: $own"
[ "$shared" = PinExpired ] && [ "$own" = "a key was made" ]
