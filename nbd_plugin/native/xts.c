/* Which width encrypts: the widest that this processor has and that is right on it. */
#include "xts.h"

#include <pthread.h>
#include <stdlib.h>

#include "sector.h"
#include "xts_blocks.h"

#ifdef HAVE_XTS

void xts_crypt(const struct xts_keys *keys, int lanes, bool encrypt, uint8_t *out,
               const uint8_t *in, size_t count, uint64_t sector, unsigned at) {
    if (lanes == 4)
        (encrypt ? xts_encrypt4 : xts_decrypt4)(keys, out, in, count, sector, at);
    else if (lanes == 2)
        (encrypt ? xts_encrypt2 : xts_decrypt2)(keys, out, in, count, sector, at);
    else
        (encrypt ? xts_encrypt1 : xts_decrypt1)(keys, out, in, count, sector, at);
}

bool xts_supported(int lanes) {
    bool one = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
               __builtin_cpu_supports("avx2");
    bool two = one && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq");
    if (lanes == 4)
        return two && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw");
    return lanes == 2 ? two : lanes == 1 && one;
}

/* FNV-1a of five sectors from number 2^40 on, whose bytes count modulo 251, encrypted with a key of
 * the bytes 0 to 63. Found with another implementation: tests/plugin/test_vectors.py. */
#define XTS_ANSWER 0x4a7dfc98f5052176u

/* Whether a width gives the right answer on this processor: what it writes nobody else could read
 * else. It takes 50 us. */
static bool is_right(int lanes) {
    struct xts_keys keys;
    uint8_t dek[64], data[5 * SECTOR];
    for (size_t i = 0; i < sizeof dek; i++)
        dek[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251);
    xts_set_key(&keys, dek);
    xts_crypt(&keys, lanes, true, data, data, sizeof data, 8ULL << 40, 0);
    uint64_t answer = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof data; i++)
        answer = (answer ^ data[i]) * 0x100000001b3u;
    xts_crypt(&keys, lanes, false, data, data, sizeof data, 8ULL << 40, 0);
    for (size_t i = 0; i < sizeof data; i++)
        if (data[i] != i % 251)
            return false;
    return answer == XTS_ANSWER;
}

static int used;

static void find_widest(void) {
    used = MAX_LANES;
    while (used && !(xts_supported(used) && is_right(used)))
        used /= 2;
}

int xts_lanes(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_widest);
    return used;
}

#else /* no width is supported, so nobody has one encrypt */

int xts_lanes(void) { return 0; }

bool xts_supported(int lanes) {
    (void)lanes;
    return false;
}

void xts_set_key(struct xts_keys *keys, const uint8_t dek[64]) {
    (void)keys, (void)dek;
    abort();
}

void xts_crypt(const struct xts_keys *keys, int lanes, bool encrypt, uint8_t *out,
               const uint8_t *in, size_t count, uint64_t sector, unsigned at) {
    (void)keys, (void)lanes, (void)encrypt, (void)out, (void)in, (void)count;
    (void)sector, (void)at;
    abort();
}

#endif
