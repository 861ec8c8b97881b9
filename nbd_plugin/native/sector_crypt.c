#include "sector_crypt.h"

#include <errno.h>

#include <openssl/crypto.h>

#include "libcrypto.h"
#include "xts.h"

static int by_libcrypto(const uint8_t *dek, uint64_t unit, const uint8_t *data, uint8_t *out,
                        size_t count, bool encrypt) {
    EVP_CIPHER_CTX *ctx = libcrypto_context(dek, encrypt);
    int err = ctx ? libcrypto_sectors(ctx, out, data, count, unit * 512) : ENOMEM;
    EVP_CIPHER_CTX_free(ctx);
    return err;
}

int sector_crypt(const uint8_t *dek, uint64_t unit, const uint8_t *data, uint8_t *out, size_t count,
                 unsigned at, bool encrypt, int by) {
    if (!by)
        return by_libcrypto(dek, unit, data, out, count, encrypt);
    if (!xts_supported(by))
        return EINVAL;
    struct xts_keys keys;
    xts_set_key(&keys, dek);
    xts_crypt(&keys, by, encrypt, out, data, count, unit, at);
    OPENSSL_cleanse(&keys, sizeof keys);
    return 0;
}
