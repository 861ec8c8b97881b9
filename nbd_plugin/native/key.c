#include "key.h"

#include <errno.h>
#include <pthread.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "key_page.h"
#include "worker_pools.h"

enum key_state { KEY_ABSENT, KEY_UNVERIFIED, KEY_VERIFIED };

static struct {
    pthread_mutex_t lock; /* no request takes it */
    enum key_state state;
    struct key_page *page;
    struct key_page *lower; /* those of layers, until the volume's own is here */
    EVP_PKEY *release_key;
} key = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- Getting it ------------------------------------------------------------------------------ */

int key_new_release(uint8_t public[X25519_LENGTH]) {
    size_t length = X25519_LENGTH;
    pthread_mutex_lock(&key.lock);
    EVP_PKEY_free(key.release_key);
    key.release_key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    bool ok = key.release_key &&
              EVP_PKEY_get_raw_public_key(key.release_key, public, &length) == 1;
    pthread_mutex_unlock(&key.lock);
    return ok ? 0 : EIO;
}

/* The private key is overwritten. */
static void drop_release_key(void) {
    EVP_PKEY_free(key.release_key);
    key.release_key = NULL;
}

int key_unseal(const uint8_t *encapsulated, const uint8_t *sealed, const void *info,
               size_t info_length) {
    struct key_page *page;
    pthread_mutex_lock(&key.lock);
    int err = key.state != KEY_ABSENT || !key.release_key ? EPERM : key_page_new(&page);
    if (!err && !hpke_open(key.release_key, encapsulated, info, info_length, sealed, DEK_LENGTH,
                           page->dek)) {
        key_page_leave(page);
        err = EBADMSG;
    }
    if (!err) {
        key.page = page;
        key.state = KEY_UNVERIFIED;
    }
    drop_release_key();
    pthread_mutex_unlock(&key.lock);
    return err;
}

/* The volume's own: requests are served from now on. */
static void use_page(void) {
    key.state = KEY_VERIFIED;
    key.page->lower = key.lower;
    key.lower = NULL;
    pools_open(key.page);
}

/* That of layers below: another can come. */
static void keep_page(void) {
    key.state = KEY_ABSENT;
    key.page->lower = key.lower;
    key.lower = key.page;
    key.page = NULL;
}

bool key_verify(const uint8_t *salt, int salt_length, int iterations,
                const uint8_t digest[DIGEST_LENGTH], bool of_layers) {
    uint8_t computed[DIGEST_LENGTH];
    pthread_mutex_lock(&key.lock);
    bool ok = key.state != KEY_ABSENT &&
              PKCS5_PBKDF2_HMAC((const char *)key.page->dek, DEK_LENGTH, salt, salt_length,
                                iterations, EVP_sha256(), DIGEST_LENGTH, computed) == 1 &&
              CRYPTO_memcmp(computed, digest, DIGEST_LENGTH) == 0;
    if (ok) {
        if (xts_lanes())
            xts_set_key(&key.page->schedules, key.page->dek);
        of_layers ? keep_page() : use_page();
    }
    pthread_mutex_unlock(&key.lock);
    if (!ok)
        key_wipe();
    return ok;
}

/* --- Forgetting it --------------------------------------------------------------------------- */

void key_wipe(void) {
    pthread_mutex_lock(&key.lock);
    key.state = KEY_ABSENT;
    pools_close();
    if (key.page) {
        OPENSSL_cleanse(key.page->dek, DEK_LENGTH);
        key_page_leave(key.page);
        key.page = NULL;
    }
    key_page_leave(key.lower);
    key.lower = NULL;
    drop_release_key();
    pthread_mutex_unlock(&key.lock);
}
