/* The data encryption key (DEK) of the volume, and the key schedules made of it.
 *
 * The DEK and the schedules of `xts.h` are in one locked page, which is not dumped, not inherited
 * and overwritten before it is given back. (Where the processor wants libcrypto's AES, its contexts
 * hold schedules as well; they are on the heap, which is locked then.)
 * The DEK gets there sealed by HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
 * AES-256-GCM) to a one-time key that never leaves OpenSSL; it is used only after its digest was
 * verified; wipe() removes it.
 *
 * OpenSSL has HPKE of its own from 3.2; Debian 12 ships 3.0.
 */
#ifndef EVSD_KEY_H
#define EVSD_KEY_H

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "xts.h"

#define DEK_LENGTH 64

enum { X25519_LENGTH = 32, HASH_LENGTH = 32, GCM_KEY_LENGTH = 32, NONCE_LENGTH = 12, TAG_LENGTH = 16 };
enum key_state { KEY_ABSENT, KEY_UNVERIFIED, KEY_VERIFIED };

/* All that is secret, in pages of its own. */
struct key_page {
#ifdef HAVE_XTS
    struct xts_keys schedules;
#endif
    uint8_t dek[DEK_LENGTH];
    unsigned users; /* `key.page`, and each request in flight */
};

/* What one request needs. nbdkit's threads come and go with connections, so these are pooled
 * and not thread-local: wiping can reach all of them. */
struct worker {
    struct key_page *page;              /* while a request has it */
    EVP_CIPHER_CTX *encrypt, *decrypt;  /* NULL where `xts.h` does it */
    uint8_t *buffer;                    /* CHUNK bytes */
    struct worker *next;
};

static struct {
    pthread_mutex_t lock;
    enum key_state state;
    struct key_page *page;
    EVP_PKEY *release_key;
    struct worker *idle;
} key = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int lanes;
#ifdef HAVE_XTS
static void find_lanes(void) { lanes = xts_widest(); }
#endif

/* The width of `xts.h` that this process uses, 0 for libcrypto. */
static int lanes_used(void) {
#ifdef HAVE_XTS
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_lanes);
#endif
    return lanes;
}

/* --- The locked page ------------------------------------------------------------------------- */

static int key_page_new(void) {
    size_t length = sizeof(struct key_page);
    void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return errno;
    if (mlock(page, length) || madvise(page, length, MADV_DONTDUMP) ||
        madvise(page, length, MADV_DONTFORK)) {
        int err = errno;
        munmap(page, length);
        return err;
    }
    key.page = page;
    key.page->users = 1;
    return 0;
}

static void key_page_leave(struct key_page *page) {
    if (--page->users)
        return;
    OPENSSL_cleanse(page, sizeof *page);
    munmap(page, sizeof *page);
}

/* --- Workers --------------------------------------------------------------------------------- */

static void worker_free(struct worker *w) {
    if (!w)
        return;
    EVP_CIPHER_CTX_free(w->encrypt); /* overwrites the key schedule */
    EVP_CIPHER_CTX_free(w->decrypt);
    if (w->buffer) {
        OPENSSL_cleanse(w->buffer, CHUNK);
        munmap(w->buffer, CHUNK);
    }
    free(w);
}

static EVP_CIPHER_CTX *xts_context(const uint8_t *dek, int encrypt) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_xts(), NULL, dek, NULL, encrypt) == 1)
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

/* libcrypto's contexts are on the heap, which has one arena (process.h): where not all memory could
 * be locked, at least that is. It grows, so it is done for each context. */
static void lock_heap(void) {
    uintptr_t end = (uintptr_t)sbrk(0);
    mlock((void *)(end - mallinfo2().arena), mallinfo2().arena);
}

static struct worker *worker_new(void) {
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    void *buffer = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    w->buffer = buffer == MAP_FAILED ? NULL : buffer;
    if (!lanes_used()) {
        w->encrypt = xts_context(key.page->dek, 1);
        w->decrypt = xts_context(key.page->dek, 0);
        lock_heap();
    }
    if (w->buffer && (lanes_used() || (w->encrypt && w->decrypt))) {
        madvise(w->buffer, CHUNK, MADV_DONTDUMP);
        return w;
    }
    worker_free(w);
    return NULL;
}

static bool key_usable(void) {
    pthread_mutex_lock(&key.lock);
    bool usable = key.state == KEY_VERIFIED;
    pthread_mutex_unlock(&key.lock);
    return usable;
}

/* A worker for one request, NULL with errno set where there is no key or no memory. */
static struct worker *worker_get(void) {
    pthread_mutex_lock(&key.lock);
    struct worker *w = NULL;
    int err = 0;
    if (key.state != KEY_VERIFIED)
        err = EPERM;
    else if ((w = key.idle))
        key.idle = w->next;
    else if (!(w = worker_new()))
        err = ENOMEM;
    if (w) {
        w->page = key.page;
        w->page->users++;
    }
    pthread_mutex_unlock(&key.lock);
    errno = err;
    return w;
}

static void worker_put(struct worker *w) {
    pthread_mutex_lock(&key.lock);
    bool current = w->page == key.page;
    key_page_leave(w->page);
    w->page = NULL;
    if (current) {
        w->next = key.idle;
        key.idle = w;
        w = NULL;
    }
    pthread_mutex_unlock(&key.lock);
    worker_free(w);
}

/* Forget the key. Requests in flight finish with it; the last of them overwrites its schedule. */
static void key_wipe(void) {
    pthread_mutex_lock(&key.lock);
    key.state = KEY_ABSENT;
    if (key.page) {
        OPENSSL_cleanse(key.page->dek, DEK_LENGTH);
        key_page_leave(key.page);
        key.page = NULL;
    }
    EVP_PKEY_free(key.release_key); /* overwrites the private key */
    key.release_key = NULL;
    struct worker *w = key.idle;
    key.idle = NULL;
    pthread_mutex_unlock(&key.lock);
    while (w) {
        struct worker *next = w->next;
        worker_free(w);
        w = next;
    }
}

/* --- HPKE ------------------------------------------------------------------------------------ */

/* A growing message of fixed capacity: labels and public values, nothing longer. */
struct message {
    uint8_t bytes[512];
    size_t length;
    bool overflow;
};

static void put(struct message *m, const void *bytes, size_t length) {
    if (length > sizeof m->bytes - m->length) {
        m->overflow = true;
        return;
    }
    if (length)
        memcpy(m->bytes + m->length, bytes, length);
    m->length += length;
}

struct suite {
    const void *id;
    size_t length;
};
static const struct suite KEM_SUITE = {"KEM\x00\x20", 5};
static const struct suite HPKE_SUITE = {"HPKE\x00\x20\x00\x01\x00\x02", 10};

static bool hmac(const uint8_t *secret, struct message *m, uint8_t out[HASH_LENGTH]) {
    unsigned length = HASH_LENGTH;
    bool ok = !m->overflow &&
              HMAC(EVP_sha256(), secret, HASH_LENGTH, m->bytes, m->length, out, &length);
    OPENSSL_cleanse(m, sizeof *m);
    return ok;
}

/* LabeledExtract of RFC 9180 §4; a NULL salt is the empty one, which HMAC pads to zeros. */
static bool labeled_extract(struct suite suite, const uint8_t *salt, const char *label,
                            const void *ikm, size_t ikm_length, uint8_t out[HASH_LENGTH]) {
    static const uint8_t empty[HASH_LENGTH];
    struct message m = {.length = 0};
    put(&m, "HPKE-v1", 7);
    put(&m, suite.id, suite.length);
    put(&m, label, strlen(label));
    put(&m, ikm, ikm_length);
    return hmac(salt ? salt : empty, &m, out);
}

/* LabeledExpand of RFC 9180 §4, for at most one block of SHA-256. */
static bool labeled_expand(struct suite suite, const uint8_t *prk, const char *label,
                           const void *info, size_t info_length, uint8_t *out, uint8_t length) {
    uint8_t block[HASH_LENGTH];
    struct message m = {.length = 0};
    put(&m, (uint8_t[]){0, length}, 2);
    put(&m, "HPKE-v1", 7);
    put(&m, suite.id, suite.length);
    put(&m, label, strlen(label));
    put(&m, info, info_length);
    put(&m, "\x01", 1);
    bool ok = length <= HASH_LENGTH && hmac(prk, &m, block);
    if (ok)
        memcpy(out, block, length);
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}

/* Diffie-Hellman; X25519 refuses points of small order, as RFC 9180 §7.1.4 asks. */
static bool x25519(EVP_PKEY *private, const uint8_t *public, uint8_t out[X25519_LENGTH]) {
    size_t length = X25519_LENGTH;
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public, X25519_LENGTH);
    EVP_PKEY_CTX *ctx = peer ? EVP_PKEY_CTX_new(private, NULL) : NULL;
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
              EVP_PKEY_derive(ctx, out, &length) == 1 && length == X25519_LENGTH;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return ok;
}

static bool decapsulate(EVP_PKEY *private, const uint8_t *encapsulated, uint8_t *shared) {
    uint8_t dh[X25519_LENGTH], prk[HASH_LENGTH], context[2 * X25519_LENGTH];
    size_t length = X25519_LENGTH;
    memcpy(context, encapsulated, X25519_LENGTH);
    bool ok = EVP_PKEY_get_raw_public_key(private, context + X25519_LENGTH, &length) == 1 &&
              x25519(private, encapsulated, dh) &&
              labeled_extract(KEM_SUITE, NULL, "eae_prk", dh, sizeof dh, prk) &&
              labeled_expand(KEM_SUITE, prk, "shared_secret", context, sizeof context, shared,
                             HASH_LENGTH);
    OPENSSL_cleanse(dh, sizeof dh);
    OPENSSL_cleanse(prk, sizeof prk);
    return ok;
}

static bool key_schedule(const uint8_t *shared, const void *info, size_t info_length,
                         uint8_t *gcm_key, uint8_t *nonce) {
    uint8_t context[1 + 2 * HASH_LENGTH] = {0 /* base mode */}, secret[HASH_LENGTH];
    const struct suite s = HPKE_SUITE;
    bool ok = labeled_extract(s, NULL, "psk_id_hash", NULL, 0, context + 1) &&
              labeled_extract(s, NULL, "info_hash", info, info_length, context + 1 + HASH_LENGTH) &&
              labeled_extract(s, shared, "secret", NULL, 0, secret) &&
              labeled_expand(s, secret, "key", context, sizeof context, gcm_key, GCM_KEY_LENGTH) &&
              labeled_expand(s, secret, "base_nonce", context, sizeof context, nonce, NONCE_LENGTH);
    OPENSSL_cleanse(secret, sizeof secret);
    return ok;
}

static bool gcm_open(const uint8_t *gcm_key, const uint8_t *nonce, const uint8_t *sealed,
                     uint8_t *out) {
    int length = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, gcm_key, nonce) == 1 &&
              EVP_DecryptUpdate(ctx, out, &length, sealed, DEK_LENGTH) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LENGTH,
                                  (void *)(sealed + DEK_LENGTH)) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + length, &rest) == 1 && length == DEK_LENGTH;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* Make the one-time key; its public half goes to `public`. */
static int key_new_release(uint8_t public[X25519_LENGTH]) {
    size_t length = X25519_LENGTH;
    pthread_mutex_lock(&key.lock);
    EVP_PKEY_free(key.release_key);
    key.release_key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    bool ok = key.release_key &&
              EVP_PKEY_get_raw_public_key(key.release_key, public, &length) == 1;
    pthread_mutex_unlock(&key.lock);
    return ok ? 0 : EIO;
}

/* Open the sealed DEK into the locked page. The one-time key is gone afterwards in any case. */
static int key_unseal(const uint8_t *encapsulated, const uint8_t *sealed, const void *info,
                      size_t info_length) {
    uint8_t shared[HASH_LENGTH], gcm_key[GCM_KEY_LENGTH], nonce[NONCE_LENGTH];
    pthread_mutex_lock(&key.lock);
    int err = key.state != KEY_ABSENT || !key.release_key ? EPERM : key_page_new();
    if (!err) {
        bool ok = decapsulate(key.release_key, encapsulated, shared) &&
                  key_schedule(shared, info, info_length, gcm_key, nonce) &&
                  gcm_open(gcm_key, nonce, sealed, key.page->dek);
        if (ok) {
            key.state = KEY_UNVERIFIED;
        } else {
            key_page_leave(key.page);
            key.page = NULL;
        }
        err = ok ? 0 : EBADMSG;
    }
    EVP_PKEY_free(key.release_key);
    key.release_key = NULL;
    pthread_mutex_unlock(&key.lock);
    OPENSSL_cleanse(shared, sizeof shared);
    OPENSSL_cleanse(gcm_key, sizeof gcm_key);
    return err;
}

/* Whether the DEK has this digest. Only then may it be used; otherwise it is wiped. */
static bool key_verify(const uint8_t *salt, int salt_length, int iterations,
                       const uint8_t digest[HASH_LENGTH]) {
    uint8_t computed[HASH_LENGTH];
    pthread_mutex_lock(&key.lock);
    bool ok = key.state != KEY_ABSENT &&
              PKCS5_PBKDF2_HMAC((const char *)key.page->dek, DEK_LENGTH, salt, salt_length, iterations,
                                EVP_sha256(), HASH_LENGTH, computed) == 1 &&
              CRYPTO_memcmp(computed, digest, HASH_LENGTH) == 0;
    if (ok) {
        key.state = KEY_VERIFIED;
#ifdef HAVE_XTS
        if (lanes_used())
            xts_set_key(&key.page->schedules, key.page->dek);
#endif
    }
    pthread_mutex_unlock(&key.lock);
    if (!ok)
        key_wipe();
    return ok;
}

#endif
