#include "libcrypto.h"

#include <endian.h>
#include <errno.h>

#include "sector.h"

EVP_CIPHER_CTX *libcrypto_context(const uint8_t *dek, bool encrypt) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_xts(), NULL, dek, NULL, encrypt) == 1)
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

/* plain64 counts in 512-byte units, as dm-crypt does. */
int libcrypto_sectors(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t count,
                      uint64_t offset) {
    for (size_t done = 0; done < count; done += SECTOR) {
        int length;
        uint64_t tweak[2] = {htole64((offset + done) / 512), 0};
        if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, (const uint8_t *)tweak, -1) != 1 ||
            EVP_CipherUpdate(ctx, out + done, &length, in + done, SECTOR) != 1)
            return EIO;
    }
    return 0;
}
