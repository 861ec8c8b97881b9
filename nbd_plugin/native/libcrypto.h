/* AES-256-XTS of sectors by libcrypto, where `xts.h` can't be had. */
#ifndef EVSD_LIBCRYPTO_H
#define EVSD_LIBCRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

/* NULL without memory. EVP_CIPHER_CTX_free() overwrites the key schedule. */
EVP_CIPHER_CTX *libcrypto_context(const uint8_t *dek, bool encrypt);

/* Whole sectors from the volume's `offset` on; `out` may be `in`. 0 or an errno. */
int libcrypto_sectors(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t count,
                      uint64_t offset);

#endif
