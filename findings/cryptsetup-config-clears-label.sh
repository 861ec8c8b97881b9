#!/bin/bash
# `cryptsetup config --subsystem` takes the label away that `cryptsetup config --label` has set.
#
# Version: cryptsetup-bin 2:2.6.1-4~deb12u2 (Debian 12), on a LUKS2 header.
# Behaviour: `config` always writes both fields; the one whose option is not given is written empty,
#   without a word. So two calls, one for each field, leave only what the last one said, and
#   /dev/disk/by-label loses the volume. One call with both options keeps both.
# Output seen (luksDump, after each step):
#   --label backup                     Label: backup       Subsystem: (no subsystem)
#   --subsystem disks                  Label: (no label)   Subsystem: disks
#   --label backup --subsystem disks   Label: backup       Subsystem: disks
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download \
    cryptsetup-bin=2:2.6.1-4~deb12u2 libcryptsetup12=2:2.6.1-4~deb12u2
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(echo "$directory"/root/usr/lib/*-linux-gnu "$directory"/root/lib/*-linux-gnu)

cryptsetup() {
    LD_LIBRARY_PATH=${libraries// /:} "$(find root -name cryptsetup -type f -perm -u+x)" "$@"
}
fields() { # what the header says after `config` with these options
    cryptsetup --batch-mode config "$@" disk
    echo "$* =>" "$(cryptsetup luksDump disk | grep -E '^(Label|Subsystem):' | tr -s ' \t\n' ' ')"
}

truncate -s 32M disk
printf secret >key
cryptsetup --batch-mode luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 disk key
first=$(fields --label backup)
second=$(fields --subsystem disks)
both=$(fields --label backup --subsystem disks)
printf '%s\n' "$first" "$second" "$both"
[[ $first == *"Label: backup Subsystem: (no subsystem)"* ]]
[[ $second == *"Label: (no label) Subsystem: disks"* ]]
[[ $both == *"Label: backup Subsystem: disks"* ]]
