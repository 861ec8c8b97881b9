#include "worker.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "libcrypto.h"
#include "sector.h"

/* libcrypto's contexts are on the heap, which has one arena (`process_memory.h`): where not all
 * memory could be locked, at least that is. It grows, so it is done for each worker. */
static void lock_heap(void) {
    uintptr_t end = (uintptr_t)sbrk(0);
    mlock((void *)(end - mallinfo2().arena), mallinfo2().arena);
}

struct worker *worker_new(struct key_page *page) {
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->page = page;
    key_page_join(page);
    void *buffer = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    w->buffer = buffer == MAP_FAILED ? NULL : buffer;
    if (!xts_lanes()) {
        w->encrypt = libcrypto_context(page->dek, true);
        w->decrypt = libcrypto_context(page->dek, false);
        lock_heap();
    }
    if (w->buffer && (xts_lanes() || (w->encrypt && w->decrypt))) {
        madvise(w->buffer, CHUNK, MADV_DONTDUMP);
        return w;
    }
    worker_free(w);
    return NULL;
}

void worker_free(struct worker *w) {
    if (!w)
        return;
    EVP_CIPHER_CTX_free(w->encrypt);
    EVP_CIPHER_CTX_free(w->decrypt);
    if (w->buffer) {
        OPENSSL_cleanse(w->buffer, CHUNK);
        munmap(w->buffer, CHUNK);
    }
    key_page_leave(w->page);
    free(w);
}

bool worker_takes_parts(const struct worker *w) { return !w->encrypt; }

int worker_encrypt(struct worker *w, uint8_t *out, const uint8_t *in, size_t count,
                   uint64_t offset) {
    if (w->encrypt)
        return libcrypto_sectors(w->encrypt, out, in, count, offset);
    xts_crypt(&w->page->schedules, xts_lanes(), true, out, in, count, sector_floor(offset) / 512,
              offset % SECTOR);
    return 0;
}

int worker_decrypt(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    if (w->decrypt)
        return libcrypto_sectors(w->decrypt, data, data, count, offset);
    xts_crypt(&w->page->schedules, xts_lanes(), false, data, data, count, offset / 512, 0);
    return 0;
}
