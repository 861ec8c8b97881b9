#!/bin/bash
# The size that qemu-img reads from a VHD depends on which program has written the file.
#
# Version: qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
# Behaviour: a VHD's footer holds the size of the disk twice: as a number of bytes and as a geometry
#   of cylinders, heads and sectors, which can't express every size and is rounded down. qemu-img
#   believes the number if the footer's four letters of the creator are ones it knows to be right
#   ("win ", "qem2", "tap\0", ...), else the geometry. "vbox", "vpc " and "vs  ", whose disks
#   have the size that the number says, are not among them. A conversion then leaves the end of the
#   disk out and exits with 0. `force_size_calc=current_size` makes it believe the number.
# Output seen, of one fixed VHD of 1 GiB with its geometry of 2080 x 16 x 63, of which nothing but the
#   creator (and the checksum) differs:
#   creator qem2: 1073741824    creator vbox: 1073479680 (262144 fewer)
#   creator vbox, force_size_calc=current_size: 1073741824
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download 'qemu-utils=1:7.2+dfsg-7+deb12u18+b3'
dpkg-deb -x ./*.deb root

root/usr/bin/qemu-img create -q -f vpc -o subformat=fixed,force_size=on disk.vhd 1G
size() { # size CREATOR [OPTION]: of the disk, in bytes, as qemu-img reads it
    python3 - "$1" <<'PYTHON'
import sys

with open("disk.vhd", "r+b") as file:
    file.seek(-512, 2)
    footer = bytearray(file.read(512))
    footer[28:32] = sys.argv[1].encode()
    # The geometry that the VHD specification computes for 1 GiB, and all but qemu-img write.
    footer[56:60] = (2080).to_bytes(2, "big") + bytes((16, 63))
    footer[64:68] = bytes(4)
    footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
    file.seek(-512, 2)
    file.write(footer)
PYTHON
    root/usr/bin/qemu-img info --output json --image-opts \
        "driver=vpc,file.driver=file,file.filename=disk.vhd${2:+,$2}" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])'
}

known=$(size qem2)
other=$(size vbox)
forced=$(size vbox force_size_calc=current_size)
echo "creator qem2: $known"
echo "creator vbox: $other"
echo "creator vbox, force_size_calc=current_size: $forced"
[[ $known == 1073741824 && $other == 1073479680 && $forced == 1073741824 ]]
