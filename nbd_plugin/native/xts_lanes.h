/* AES-XTS over vectors of LANES blocks: the body of each width, whose file says what a vector is
 * and includes this at its end. */
#ifndef LANES
#error "this is the body of xts1.c, xts2.c and xts4.c"
#endif

#include "sector.h"

enum { GROUP = 8, /* vectors at a time: hides AES's latency */ GROUP_BYTES = 16 * LANES * GROUP };

#define VECTOR_FUNCTION __attribute__((target(TARGET)))
#define VECTOR_INLINE __attribute__((target(TARGET), always_inline)) static inline

/* --- Tweaks ---------------------------------------------------------------------------------- */

/* T of the sectors from `unit` (in 512 bytes) on, four at a time. */
VECTOR_INLINE void sector_tweaks(const round_key *keys, uint64_t unit, size_t sectors,
                                 __m128i *out) {
    for (size_t done = 0; done < sectors; done += 4) {
        __m128i t[4];
        for (int i = 0; i < 4; i++)
            t[i] = _mm_set_epi64x(0, (long long)(unit + 8 * (done + i))) ^ block_of(keys[0]);
        for (int round = 1; round < ROUND_KEYS - 1; round++)
            for (int i = 0; i < 4; i++)
                t[i] = _mm_aesenc_si128(t[i], block_of(keys[round]));
        for (int i = 0; i < 4; i++)
            *out++ = _mm_aesenclast_si128(t[i], block_of(keys[ROUND_KEYS - 1]));
    }
}

/* Each of the 128-bit numbers times x^bits, given the bits shifted out of both its halves. */
VECTOR_INLINE VECTOR reduce(VECTOR shifted, VECTOR carries) {
    const VECTOR polynomial = EVERY_LANE(_mm_set1_epi64x(0x87));
    carries = SWAP_HALVES(carries); /* the low half's to the high, and back */
    return XOR_HIGH(shifted, carries) ^ MULTIPLY(carries, polynomial);
}

VECTOR_INLINE VECTOR times_x(VECTOR t, int bits) {
    return reduce(OP(slli_epi64)(t, bits), OP(srli_epi64)(t, 64 - bits));
}

/* From a sector's T: T, Tx, Tx^2, Tx^3, as many as there are lanes. */
VECTOR_INLINE VECTOR first_tweaks(__m128i tweak) {
    const VECTOR bits = POWERS, rest = EVERY_LANE(_mm_set1_epi64x(64)) - bits;
    VECTOR t = EVERY_LANE(tweak);
    return reduce(OP(sllv_epi64)(t, bits), OP(srlv_epi64)(t, rest));
}

/* The tweaks of a group, from those of the one before: times x^(8 LANES), whole bytes. Bits would
 * be shifted by the unit that does AES: 1.2 times as long. */
VECTOR_INLINE void next_group(VECTOR *t) {
    const VECTOR polynomial = EVERY_LANE(_mm_set1_epi64x(0x87));
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++)
        t[i] = SHIFT_LEFT(t[i], LANES) ^ MULTIPLY(SHIFT_RIGHT(t[i], 16 - LANES), polynomial);
}

/* --- Sectors --------------------------------------------------------------------------------- */

VECTOR_INLINE void crypt_group(const round_key *keys, bool encrypt, uint8_t *out, const uint8_t *in,
                               const VECTOR *tweak) {
    VECTOR x[GROUP];
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++)
        x[i] = WHOLE(loadu)((const VECTOR *)in + i) ^ tweak[i] ^ *(const VECTOR *)keys[0];
#pragma GCC unroll 14
    for (int round = 1; round < ROUND_KEYS - 1; round++) {
        const VECTOR key = *(const VECTOR *)keys[round];
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++)
            x[i] = encrypt ? AES(aesenc)(x[i], key) : AES(aesdec)(x[i], key);
    }
    const VECTOR key = *(const VECTOR *)keys[ROUND_KEYS - 1];
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++) {
        x[i] = encrypt ? AES(aesenclast)(x[i], key) : AES(aesdeclast)(x[i], key);
        WHOLE(storeu)((VECTOR *)out + i, x[i] ^ tweak[i]);
    }
}

VECTOR_INLINE void crypt_units(const struct xts_keys *keys, bool encrypt, uint8_t *out,
                               const uint8_t *in, size_t count, uint64_t sector, unsigned at) {
    const round_key *data_keys = encrypt ? keys->encrypt : keys->decrypt;
    __m128i tweaks[CHUNK / SECTOR], *tweak = tweaks;
    sector_tweaks(keys->tweak, sector, (at + count + SECTOR - 1) / SECTOR, tweaks);
    for (const uint8_t *end = in + count; in < end; tweak++, at = 0) {
        VECTOR t[GROUP];
        t[0] = first_tweaks(*tweak);
#pragma GCC unroll 8
        for (int i = 1; i < GROUP; i++)
            t[i] = times_x(t[i - 1], LANES);
        for (unsigned before = 0; before < at; before += GROUP_BYTES)
            next_group(t);
        for (; at < SECTOR && in < end; at += GROUP_BYTES, in += GROUP_BYTES, out += GROUP_BYTES) {
            crypt_group(data_keys, encrypt, out, in, t);
            next_group(t);
        }
    }
    FORGET();
}

VECTOR_FUNCTION void ENCRYPT(const struct xts_keys *keys, uint8_t *out, const uint8_t *in,
                             size_t count, uint64_t sector, unsigned at) {
    crypt_units(keys, true, out, in, count, sector, at);
}

VECTOR_FUNCTION void DECRYPT(const struct xts_keys *keys, uint8_t *out, const uint8_t *in,
                             size_t count, uint64_t sector, unsigned at) {
    crypt_units(keys, false, out, in, count, sector, at);
}
