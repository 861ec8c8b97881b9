#include "recrypt.h"

#include <errno.h>

#include "holes.h"
#include "libcrypto.h"
#include "sector.h"

static int decrypt(const struct key_page *page, uint8_t *data, size_t count, uint64_t offset) {
    if (xts_lanes()) {
        xts_crypt(&page->schedules, xts_lanes(), false, data, data, count, offset / 512, 0);
        return 0;
    }
    EVP_CIPHER_CTX *ctx = libcrypto_context(page->dek, false);
    int err = ctx ? libcrypto_sectors(ctx, data, data, count, offset) : ENOMEM;
    EVP_CIPHER_CTX_free(ctx);
    return err;
}

int recrypt(struct worker *w, unsigned key, uint8_t *data, size_t count, uint64_t offset) {
    const struct key_page *page = w->page;
    while (page && key--)
        page = page->lower;
    if (!page)
        return EPERM;
    int err = 0;
    for (size_t done = 0, start; !err && done < count;) {
        for (start = done; done < count && !is_zero(data + done, SECTOR);)
            done += SECTOR;
        if (done > start)
            err = decrypt(page, data + start, done - start, offset + start);
        if (!err && done > start)
            err = worker_encrypt(w, data + start, data + start, done - start, offset + start);
        done += done < count ? SECTOR : 0;
    }
    return err;
}
