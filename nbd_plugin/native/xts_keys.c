/* The key schedules of AES-256 (FIPS 197 §5.2). */
#include "xts_blocks.h"

#ifdef HAVE_XTS

BLOCK_INLINE __m128i next_key(__m128i key, __m128i assist) {
    for (int i = 0; i < 3; i++)
        key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, assist);
}

BLOCK_INLINE void set_round_key(round_key key, __m128i block) {
    for (int lane = 0; lane < MAX_LANES; lane++)
        _mm_store_si128((__m128i *)key + lane, block);
}

/* The one at an even place, then the one behind it. The instruction takes the round constant as an
 * immediate. */
#define EVEN_KEY(k, i, constant)                                                                   \
    set_round_key(k[i], next_key(block_of(k[i - 2]), _mm_shuffle_epi32(                            \
                            _mm_aeskeygenassist_si128(block_of(k[i - 1]), constant), 0xff)))

BLOCK_INLINE void odd_key(round_key *k, int i) {
    __m128i assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(block_of(k[i - 1]), 0), 0xaa);
    set_round_key(k[i], next_key(block_of(k[i - 2]), assist));
}

BLOCK_FUNCTION static void expand_key(const uint8_t key[32], round_key *k) {
    set_round_key(k[0], _mm_loadu_si128((const __m128i *)key));
    set_round_key(k[1], _mm_loadu_si128((const __m128i *)key + 1));
    EVEN_KEY(k, 2, 0x01);
    odd_key(k, 3);
    EVEN_KEY(k, 4, 0x02);
    odd_key(k, 5);
    EVEN_KEY(k, 6, 0x04);
    odd_key(k, 7);
    EVEN_KEY(k, 8, 0x08);
    odd_key(k, 9);
    EVEN_KEY(k, 10, 0x10);
    odd_key(k, 11);
    EVEN_KEY(k, 12, 0x20);
    odd_key(k, 13);
    EVEN_KEY(k, 14, 0x40);
}

BLOCK_FUNCTION void xts_set_key(struct xts_keys *keys, const uint8_t dek[64]) {
    const int last = ROUND_KEYS - 1;
    expand_key(dek + 32, keys->tweak);
    expand_key(dek, keys->encrypt);
    set_round_key(keys->decrypt[0], block_of(keys->encrypt[last]));
    for (int i = 1; i < last; i++)
        set_round_key(keys->decrypt[i], _mm_aesimc_si128(block_of(keys->encrypt[last - i])));
    set_round_key(keys->decrypt[last], block_of(keys->encrypt[0]));
    forget_vectors();
}

#endif
