/* AES-256-XTS of sectors with dm-crypt's plain64 tweak, for processors with AES instructions.
 *
 * libcrypto 3.0 (Debian 12) does one block of 128 bits per instruction, and a quarter of its time
 * goes into setting a sector's IV. Newer processors take two or four blocks per instruction: a
 * vector of so many LANES. Each width is `xts_lanes.h`; the widest that gives the right answer is
 * used. Without any the data path uses libcrypto.
 *
 * XTS: sector n has the tweak T = AES(tweak key, 8n); block i is AES(data key, P ^ Tx^i) ^ Tx^i,
 * where x^i multiplies in GF(2^128) with the polynomial x^128 + x^7 + x^2 + x + 1 (0x87).
 */
#ifndef EVSD_XTS_H
#define EVSD_XTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SECTOR 4096u
#define UNIT 512u /* the smallest part of a sector that is encrypted by itself */
#define CHUNK 65536u /* the most that is handled at a time; 64 KiB stay in the L2 cache */
#define MAX_LANES 4

/* EVSD_NO_XTS: sanitizers' build tests libcrypto's way, which such a processor would never take. */
#if defined(__x86_64__) && !defined(EVSD_NO_XTS)
#define HAVE_XTS 1
#include <immintrin.h>

enum { ROUND_KEYS = 15, GROUP = 8 /* vectors at a time: hides AES's latency */ };

typedef __m128i round_key[MAX_LANES]; /* the same in each, as the instructions take it */

struct xts_keys {
    round_key encrypt[ROUND_KEYS], decrypt[ROUND_KEYS], tweak[ROUND_KEYS];
} __attribute__((aligned(16 * MAX_LANES)));

#define BLOCK_FUNCTION __attribute__((target("avx,aes"))) static
#define BLOCK_INLINE __attribute__((target("avx,aes"), always_inline)) static inline

/* The vector registers hold keys: nothing of them may get into a signal's frame on the stack. */
BLOCK_INLINE void forget_vectors(void) {
    __asm__ volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                     "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* --- Key schedule (FIPS 197 §5.2) ------------------------------------------------------------ */

BLOCK_INLINE __m128i next_key(__m128i key, __m128i assist) {
    for (int i = 0; i < 3; i++)
        key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, assist);
}

BLOCK_INLINE void set_round_key(round_key keys, __m128i key) {
    for (int lane = 0; lane < MAX_LANES; lane++)
        keys[lane] = key;
}

/* Two round keys at a time; the instruction takes the round constant as an immediate. */
#define NEXT_KEYS(k, i, constant)                                                                  \
    set_round_key(k[i], next_key(*k[i - 2], _mm_shuffle_epi32(                                     \
                                                _mm_aeskeygenassist_si128(*k[i - 1], constant), 0xff))); \
    if (i + 1 < ROUND_KEYS)                                                                        \
    set_round_key(k[(i + 1) % ROUND_KEYS],                                                         \
                  next_key(*k[i - 1], _mm_shuffle_epi32(_mm_aeskeygenassist_si128(*k[i], 0), 0xaa)))

BLOCK_FUNCTION void expand_key(const uint8_t key[32], round_key *k) {
    set_round_key(k[0], _mm_loadu_si128((const __m128i *)key));
    set_round_key(k[1], _mm_loadu_si128((const __m128i *)key + 1));
    NEXT_KEYS(k, 2, 0x01);
    NEXT_KEYS(k, 4, 0x02);
    NEXT_KEYS(k, 6, 0x04);
    NEXT_KEYS(k, 8, 0x08);
    NEXT_KEYS(k, 10, 0x10);
    NEXT_KEYS(k, 12, 0x20);
    NEXT_KEYS(k, 14, 0x40);
}

BLOCK_FUNCTION void xts_set_key(struct xts_keys *keys, const uint8_t dek[64]) {
    const int last = ROUND_KEYS - 1;
    expand_key(dek + 32, keys->tweak);
    expand_key(dek, keys->encrypt);
    set_round_key(keys->decrypt[0], *keys->encrypt[last]);
    for (int i = 1; i < last; i++)
        set_round_key(keys->decrypt[i], _mm_aesimc_si128(*keys->encrypt[last - i]));
    set_round_key(keys->decrypt[last], *keys->encrypt[0]);
    forget_vectors();
}

/* T of the sectors from `unit` (in 512 bytes) on, four at a time. */
BLOCK_INLINE void sector_tweaks(const round_key *keys, uint64_t unit, size_t sectors, __m128i *out) {
    for (size_t done = 0; done < sectors; done += 4) {
        __m128i t[4];
        for (int i = 0; i < 4; i++)
            t[i] = _mm_set_epi64x(0, (long long)(unit + 8 * (done + i))) ^ *keys[0];
        for (int round = 1; round < ROUND_KEYS - 1; round++)
            for (int i = 0; i < 4; i++)
                t[i] = _mm_aesenc_si128(t[i], *keys[round]);
        for (int i = 0; i < 4; i++)
            *out++ = _mm_aesenclast_si128(t[i], *keys[ROUND_KEYS - 1]);
    }
}

/* --- The widths ------------------------------------------------------------------------------ */

#define LANES 1
#include "xts_lanes.h"
#define LANES 2
#include "xts_lanes.h"
#define LANES 4
#include "xts_lanes.h"

/* Whole units of at most CHUNK / SECTOR sectors; `out` may be `in`. The first one is `at` bytes
 * into the sector with that number, which counts in 512 bytes. */
static void xts_crypt(const struct xts_keys *keys, int lanes, bool encrypt, uint8_t *out,
                      const uint8_t *in, size_t count, uint64_t sector, unsigned at) {
    if (lanes == 4)
        (encrypt ? xts_encrypt4 : xts_decrypt4)(keys, out, in, count, sector, at);
    else if (lanes == 2)
        (encrypt ? xts_encrypt2 : xts_decrypt2)(keys, out, in, count, sector, at);
    else
        (encrypt ? xts_encrypt1 : xts_decrypt1)(keys, out, in, count, sector, at);
}

/* Whether the processor has what a width takes. */
static bool xts_supported(int lanes) {
    bool one = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
               __builtin_cpu_supports("avx2");
    bool two = one && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq");
    if (lanes == 4)
        return two && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    return lanes == 2 ? two : lanes == 1 && one;
}

/* FNV-1a of five sectors from number 2^40 on, whose bytes count modulo 251, encrypted with a key of
 * the bytes 0 to 63. Found with another implementation: tests/plugin/test_vectors.py. */
#define XTS_ANSWER 0x4a7dfc98f5052176u

/* Whether a width gives the right answer on this processor: what it writes nobody else could read
 * else. It takes 50 us. */
static bool xts_right(int lanes) {
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

/* The widest that can be used, 0 for none. */
static int xts_widest(void) {
    int lanes = MAX_LANES;
    while (lanes && !(xts_supported(lanes) && xts_right(lanes)))
        lanes /= 2;
    return lanes;
}

#endif
#endif
