#include "hpke.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/hmac.h>

enum { HASH_LENGTH = 32, GCM_KEY_LENGTH = 32, NONCE_LENGTH = 12 };

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
                     int length, uint8_t *out) {
    int opened = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, gcm_key, nonce) == 1 &&
              EVP_DecryptUpdate(ctx, out, &opened, sealed, length) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LENGTH,
                                  (void *)(sealed + length)) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + opened, &rest) == 1 && opened == length;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

bool hpke_open(EVP_PKEY *private, const uint8_t *encapsulated, const void *info, size_t info_length,
               const uint8_t *sealed, int length, uint8_t *out) {
    uint8_t shared[HASH_LENGTH], gcm_key[GCM_KEY_LENGTH], nonce[NONCE_LENGTH];
    bool ok = decapsulate(private, encapsulated, shared) &&
              key_schedule(shared, info, info_length, gcm_key, nonce) &&
              gcm_open(gcm_key, nonce, sealed, length, out);
    OPENSSL_cleanse(shared, sizeof shared);
    OPENSSL_cleanse(gcm_key, sizeof gcm_key);
    return ok;
}
