#!/bin/bash
# libvirt 9.0.0 (Debian 12): <reconnect delay='60'/> of an NBD disk is read over in silence.
#
# One would take it for qemu's reconnect-delay, as the documentation of newer versions says, or
# expect a refusal where it is not known. The domain is taken, but qemu is started without it: when
# the NBD server is away for a moment, the guest's requests fail instead of waiting.
#
# Seen, of the options that libvirt gives qemu:
#   "driver":"nbd" yes, the socket yes, "reconnect-delay" no
#
# Needs root, for a namespace in which the user libvirt-qemu is known.
set -euo pipefail
[ "${1-}" = inside ] || exec unshare --mount bash "$0" inside
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-query -W -f '${Package} ${Version}\n' libvirt-clients libvirt-daemon-driver-qemu 2>/dev/null ||
    apt-get install -y -qq --no-install-recommends \
        libvirt-clients libvirt-daemon-driver-qemu qemu-system-x86 >/dev/null

mount -t tmpfs none /run
for name in passwd group; do cp "/etc/$name" "$work/$name"; done
echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>"$work/passwd"
echo 'libvirt-qemu:x:64055:' >>"$work/group"
for name in passwd group; do mount --bind "$work/$name" "/etc/$name"; done

cat >"$work/domain.xml" <<'XML'
<domain type='qemu'>
  <name>guest</name>
  <memory>65536</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <source protocol='nbd'>
        <host transport='unix' socket='/run/volume.sock'/>
        <reconnect delay='60'/>
      </source>
      <target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>
XML
options=$(virsh -c "qemu:///embed?root=$work/libvirt" domxml-to-native qemu-argv \
    --xml "$work/domain.xml" 2>/dev/null)
said() { grep -q -- "$1" <<<"$options" && echo yes || echo no; }
driver=$(said '"driver":"nbd"') socket=$(said '/run/volume.sock') delay=$(said reconnect-delay)
echo "\"driver\":\"nbd\" $driver, the socket $socket, \"reconnect-delay\" $delay"
[ "$driver $socket $delay" = "yes yes no" ]
