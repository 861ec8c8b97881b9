/* The data encryption key (DEK) of the volume, and of a clone's layers below: when it is here. Requests use it by `worker_pools.h`.
 *
 * It and the schedules made of it are in a locked page (`key_page.h`). Where the processor wants
 * libcrypto's AES, its contexts hold schedules as well; they are on the heap, which is locked then.
 * The DEK gets there sealed by HPKE to a one-time key that never leaves OpenSSL; it is used only
 * after its digest was verified; wiping removes it.
 */
#ifndef EVSD_KEY_H
#define EVSD_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hpke.h"

enum { DIGEST_LENGTH = 32 };

/* Make the one-time key; its public half goes to `public`. 0 or an errno. */
int key_new_release(uint8_t public[X25519_LENGTH]);

/* Open the sealed DEK into the locked page; `sealed` is DEK_LENGTH + TAG_LENGTH bytes. The one-time
 * key is gone afterwards in any case. EBADMSG for what is not authentic, or another errno. */
int key_unseal(const uint8_t *encapsulated, const uint8_t *sealed, const void *info,
               size_t info_length);

/* Whether the DEK has this digest. Only then may it be used; otherwise all are wiped. Those
 * `of_layers` below, which have another key, come first: the lowest, then the next one above. */
bool key_verify(const uint8_t *salt, int salt_length, int iterations,
                const uint8_t digest[DIGEST_LENGTH], bool of_layers);

/* Forget the key. Requests in flight finish with it; the last of them overwrites its schedule. */
void key_wipe(void);

#endif
