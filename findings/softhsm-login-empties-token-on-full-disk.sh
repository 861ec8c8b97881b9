#!/bin/bash
# SoftHSM 2.6.1 (Debian 12): a login on a full ext4 leaves an empty token.object, and the token,
# with all its keys, can't be found any more, not even once there is space again.
#
# One would take C_Login for a read. But at each one SoftHSM writes the token's flags: it opens
# token.object, truncates it, and writes it anew from its memory. Its own old block should do for
# that; but where root's files have begun to use ext4's reserved blocks, a user gets back no block
# that it frees: the file stays empty. Who logs in on such a disk has no token any more.
#
# Seen:
#   before: token.object has 320 bytes, tokens called "t": 1
#   after a login on the full filesystem: token.object has 0 bytes
#   with space again: tokens called "t": 0
#
# Needs root, for a mount; SoftHSM runs as nobody.
set -euo pipefail
work=$(mktemp -d)
trap 'umount "$work/small" 2>/dev/null || true; rm -rf "$work"' EXIT
dpkg-query -W -f '${Package} ${Version}\n' softhsm2 libsofthsm2 2>/dev/null ||
    apt-get install -y -qq softhsm2 >/dev/null
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet python-pkcs11==0.10.1

chmod 755 "$work"
mkdir "$work/small"
truncate -s 16M "$work/image"
mkfs.ext4 -q -m 5 "$work/image"
mount -o loop "$work/image" "$work/small"
mkdir "$work/small/tokens"
chown nobody "$work/small/tokens"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
printf 'directories.tokendir = %s\nobjectstore.backend = file\n' "$work/small/tokens" >"$work/conf"
export SOFTHSM2_CONF=$work/conf
as_nobody softhsm2-util --init-token --free --label t --so-pin 12345678 --pin 12345678 >/dev/null

tokens() { as_nobody softhsm2-util --show-slots | grep -c 'Label: *t *$' || true; }
bytes() { stat -c %s "$work"/small/tokens/*/token.object; }
login() {
    as_nobody "$work/venv/bin/python" - <<'PYTHON' || true
import pkcs11
token = pkcs11.lib("/usr/lib/softhsm/libsofthsm2.so").get_token(token_label="t")
token.open(rw=True, user_pin="12345678")
PYTHON
}

login
echo "before: token.object has $(bytes) bytes, tokens called \"t\": $(tokens)"
[ "$(bytes)" -gt 0 ] && [ "$(tokens)" = 1 ]
dd if=/dev/zero of="$work/small/ballast" bs=4k 2>/dev/null || true
login
after=$(bytes)
echo "after a login on the full filesystem: token.object has $after bytes"
rm "$work/small/ballast"
left=$(tokens)
echo "with space again: tokens called \"t\": $left"
[ "$after" = 0 ] && [ "$left" = 0 ]
