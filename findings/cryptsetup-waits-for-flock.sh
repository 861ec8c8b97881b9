#!/bin/bash
# cryptsetup's reading commands wait, without a word or an end, for an image file that another program has locked.
#
# Version: cryptsetup-bin 2:2.6.1-4~deb12u2 (Debian 12), on a LUKS2 header in a regular file.
# Behaviour: cryptsetup serialises access to LUKS2 metadata. For block devices it locks a file of its own below
#   /run/cryptsetup; for a regular file it takes flock(2) on the image itself, shared for `isLuks`, `luksDump`,
#   `open --test-passphrase`, exclusive for what writes, and it blocks. So any program that flocks its disk images
#   exclusively (a usual way to keep a second server off) stops even `cryptsetup isLuks` for as long as it runs. A shared
#   flock lets reading through. `--disable-locks` reads at once.
# Output seen:
#   free: 0, shared: 0, exclusive: 124 (timeout's), exclusive with --disable-locks: 0
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download \
    cryptsetup-bin=2:2.6.1-4~deb12u2 libcryptsetup12=2:2.6.1-4~deb12u2
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(echo "$directory"/root/usr/lib/*-linux-gnu "$directory"/root/lib/*-linux-gnu)
export LD_LIBRARY_PATH=${libraries// /:}
cryptsetup=$(find "$directory/root" -name cryptsetup -type f -perm -u+x)

truncate -s 32M disk
printf secret >key
"$cryptsetup" --batch-mode luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 disk key

status() { # of isLuks with these options, while this shell holds this lock
    local lock=$1 result=0
    exec 9<disk
    if [ "$lock" != free ]; then flock "--$lock" 9; fi
    timeout 10 "$cryptsetup" isLuks "${@:2}" disk 9<&- || result=$?
    exec 9<&-
    echo "$result"
}
seen="free: $(status free), shared: $(status shared), exclusive: $(status exclusive)"
seen+=" (timeout's), exclusive with --disable-locks: $(status exclusive --disable-locks)"
echo "$seen"
[ "$seen" = "free: 0, shared: 0, exclusive: 124 (timeout's), exclusive with --disable-locks: 0" ]
