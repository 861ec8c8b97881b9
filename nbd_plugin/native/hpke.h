/* Opening what was sealed by HPKE (RFC 9180): base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
 * AES-256-GCM, no AAD.
 *
 * OpenSSL has HPKE of its own from 3.2; Debian 12 ships 3.0.
 */
#ifndef EVSD_HPKE_H
#define EVSD_HPKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

enum { X25519_LENGTH = 32, TAG_LENGTH = 16 };

/* `sealed` is `length` bytes and their tag. When it is not authentic `out` is not to be used. */
bool hpke_open(EVP_PKEY *private, const uint8_t *encapsulated, const void *info, size_t info_length,
               const uint8_t *sealed, int length, uint8_t *out);

#endif
