/* What one request encrypts and decrypts with: a buffer, and libcrypto's contexts where it does it.
 *
 * nbdkit's threads come and go with connections, so workers are pooled, by `worker_pools.h`, and not
 * thread-local: wiping the key can reach all of them.
 */
#ifndef EVSD_WORKER_H
#define EVSD_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "key_page.h"

struct worker {
    struct key_page *page;
    EVP_CIPHER_CTX *encrypt, *decrypt; /* NULL where `xts.h` does it */
    uint8_t *buffer;                   /* CHUNK bytes */
    struct worker *next;
};

/* One user more of the page, for its key; NULL without memory. */
struct worker *worker_new(struct key_page *page);
void worker_free(struct worker *w);

/* Whether it can encrypt a part of a sector by itself, which libcrypto can't: it always starts at
 * the sector's first block. */
bool worker_takes_parts(const struct worker *w);

/* From the volume's `offset` on, at most CHUNK bytes, whole sectors or a part of one; `out` may be
 * `in`. 0 or an errno. */
int worker_encrypt(struct worker *w, uint8_t *out, const uint8_t *in, size_t count,
                   uint64_t offset);

/* Whole sectors, in place. */
int worker_decrypt(struct worker *w, uint8_t *data, size_t count, uint64_t offset);

#endif
