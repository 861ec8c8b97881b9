#!/bin/bash
# NSS's PKCS#11 module leaves the tag out of AES-GCM's length, and has no word for a wrong HMAC.
#
# Versions: libnss3 2:3.87.1-1+deb12u4, libnspr4 2:4.35-1, libp11-kit-dev 0.24.1-2 (Debian 12).
# Behaviour: C_Encrypt with CKM_AES_GCM, asked for its output's length with a NULL buffer, answers the
#   length of the plaintext. PKCS#11 2.40 (5.2) wants one that suffices. A buffer of just that length is
#   then refused with CKR_BUFFER_TOO_SMALL, which ends the operation instead of naming the length.
#   Callers that ask before they encrypt, as python-pkcs11 0.10.1 always does, can't use this
#   mechanism at all.
#   C_Verify with CKM_SHA256_HMAC answers a MAC that does not match with CKR_DEVICE_ERROR, or, once
#   anything else has failed in that thread, with that older error; never with CKR_SIGNATURE_INVALID.
#   Who takes these for trouble with the token tries again for ever; compute the MAC and compare it.
# Output seen:
#   wrong HMAC: 0x30
#   AES-GCM of 64 bytes, length asked for: 64
#   with room for 64: 0x150
#   C_EncryptInit after that: 0x0
#   with room for 200: 0x0, 80 bytes
#   wrong HMAC after that: 0x150
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq -o APT::Sandbox::User=root download libnss3=2:3.87.1-1+deb12u4 libnspr4=2:4.35-1 \
    libp11-kit-dev=0.24.1-2
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(echo "$directory"/root/usr/lib/*-linux-gnu)

cat >ask.c <<'END'
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>

/* CK_C_INITIALIZE_ARGS as NSS wants it. */
struct arguments
{
  void *create, *destroy, *lock, *unlock;
  CK_FLAGS flags;
  char *parameters;
  void *reserved;
};

static CK_FUNCTION_LIST *f;
static CK_BYTE data[64], sealed[200], mac[32];
static CK_BBOOL yes = CK_TRUE;
static CK_ULONG size = 32;

static CK_OBJECT_HANDLE
generate (CK_SESSION_HANDLE s, CK_MECHANISM_TYPE how, CK_ATTRIBUTE_TYPE use, CK_ATTRIBUTE_TYPE other)
{
  CK_MECHANISM mechanism = { how, NULL, 0 };
  CK_ATTRIBUTE template[] = { { CKA_VALUE_LEN, &size, sizeof size }, { use, &yes, 1 }, { other, &yes, 1 } };
  CK_OBJECT_HANDLE key = 0;
  f->C_GenerateKey (s, &mechanism, template, 3, &key);
  return key;
}

static CK_RV
begin_gcm (CK_SESSION_HANDLE s)
{
  static CK_BYTE iv[12];
  CK_GCM_PARAMS parameters = { iv, 12, 96, NULL, 0, 128 };
  CK_MECHANISM gcm = { CKM_AES_GCM, &parameters, sizeof parameters };
  return f->C_EncryptInit (s, &gcm, generate (s, CKM_AES_KEY_GEN, CKA_ENCRYPT, CKA_DECRYPT));
}

static CK_RV
verify_wrong_mac (CK_SESSION_HANDLE s)
{
  CK_MECHANISM hmac = { CKM_SHA256_HMAC, NULL, 0 };
  CK_OBJECT_HANDLE key = generate (s, CKM_GENERIC_SECRET_KEY_GEN, CKA_SIGN, CKA_VERIFY);
  CK_ULONG length = sizeof mac;
  f->C_SignInit (s, &hmac, key);
  f->C_Sign (s, data, sizeof data, mac, &length);
  mac[0] ^= 1;
  f->C_VerifyInit (s, &hmac, key);
  return f->C_Verify (s, data, sizeof data, mac, length);
}

int
main (void)
{
  char *none = "configdir='' certPrefix='' keyPrefix='' secmod='' flags=readOnly,noCertDB,noModDB,forceOpen";
  struct arguments arguments = { .flags = CKF_OS_LOCKING_OK, .parameters = none };
  void *module = dlopen ("libsoftokn3.so", RTLD_NOW);
  CK_SLOT_ID slots[8];
  CK_ULONG slot_count = 8, room = 0;
  CK_SESSION_HANDLE session;
  CK_RV trouble;
  if (module == NULL || ((CK_C_GetFunctionList)dlsym (module, "C_GetFunctionList")) (&f) != CKR_OK
      || f->C_Initialize (&arguments) != CKR_OK)
    return 2;
  f->C_GetSlotList (CK_TRUE, slots, &slot_count);
  f->C_OpenSession (slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session);

  printf ("wrong HMAC: 0x%lx\n", verify_wrong_mac (session));
  begin_gcm (session);
  f->C_Encrypt (session, data, sizeof data, NULL, &room);
  printf ("AES-GCM of 64 bytes, length asked for: %lu\n", room);
  printf ("with room for 64: 0x%lx\n", f->C_Encrypt (session, data, sizeof data, sealed, &room));
  printf ("C_EncryptInit after that: 0x%lx\n", begin_gcm (session));
  room = sizeof sealed;
  trouble = f->C_Encrypt (session, data, sizeof data, sealed, &room);
  printf ("with room for 200: 0x%lx, %lu bytes\n", trouble, room);
  begin_gcm (session);
  f->C_Encrypt (session, data, sizeof data, NULL, &room);
  f->C_Encrypt (session, data, sizeof data, sealed, &room);
  printf ("wrong HMAC after that: 0x%lx\n", verify_wrong_mac (session));
  return 0;
}
END
gcc -Wall -Iroot/usr/include/p11-kit-1 -o ask ask.c -ldl
LD_LIBRARY_PATH=$libraries:$libraries/nss ./ask | tee output
diff output - <<'END'
wrong HMAC: 0x30
AES-GCM of 64 bytes, length asked for: 64
with room for 64: 0x150
C_EncryptInit after that: 0x0
with room for 200: 0x0, 80 bytes
wrong HMAC after that: 0x150
END
