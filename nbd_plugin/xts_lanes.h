/* One width of `xts.h`, which includes this once for each: LANES blocks of 128 bits in a vector. */

#if LANES == 4
#define TARGET "avx512f,avx512vl,vaes,vpclmulqdq,aes"
#define VECTOR __m512i
#define OP(name) _mm512_##name
#define WHOLE(name) _mm512_##name##_si512
#define AES(name) _mm512_##name##_epi128
#define EVERY_LANE(block) _mm512_broadcast_i32x4(block)
#define MULTIPLY(a, b) _mm512_clmulepi64_epi128(a, b, 0)
#define SWAP_HALVES(t) _mm512_shuffle_epi32(t, _MM_PERM_BADC)
#define XOR_HIGH(t, carries) _mm512_mask_xor_epi64(t, 0xaa, t, carries)
#define POWERS _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0)
#define PIECE_OF(name) name##4
#elif LANES == 2
#define TARGET "avx2,vaes,vpclmulqdq,aes"
#define VECTOR __m256i
#define OP(name) _mm256_##name
#define WHOLE(name) _mm256_##name##_si256
#define AES(name) _mm256_##name##_epi128
#define EVERY_LANE(block) _mm256_broadcastsi128_si256(block)
#define MULTIPLY(a, b) _mm256_clmulepi64_epi128(a, b, 0)
#define SWAP_HALVES(t) _mm256_shuffle_epi32(t, 0x4e)
#define XOR_HIGH(t, carries) ((t) ^ _mm256_blend_epi32(_mm256_setzero_si256(), carries, 0xcc))
#define POWERS _mm256_set_epi64x(1, 1, 0, 0)
#define PIECE_OF(name) name##2
#else
#define TARGET "avx2,pclmul,aes"
#define VECTOR __m128i
#define OP(name) _mm_##name
#define WHOLE(name) _mm_##name##_si128
#define AES(name) _mm_##name##_si128
#define EVERY_LANE(block) (block)
#define MULTIPLY(a, b) _mm_clmulepi64_si128(a, b, 0)
#define SWAP_HALVES(t) _mm_shuffle_epi32(t, 0x4e)
#define XOR_HIGH(t, carries) ((t) ^ _mm_blend_epi32(_mm_setzero_si128(), carries, 0xc))
#define POWERS _mm_setzero_si128()
#define PIECE_OF(name) name##1
#endif

#define VECTOR_FUNCTION __attribute__((target(TARGET))) static
#define VECTOR_INLINE __attribute__((target(TARGET), always_inline)) static inline
#define GROUP_BYTES (16 * LANES * GROUP)

#define forget PIECE_OF(forget)
#define reduce PIECE_OF(reduce)
#define times_x PIECE_OF(times_x)
#define first_tweaks PIECE_OF(first_tweaks)
#define next_group PIECE_OF(next_group)
#define crypt_group PIECE_OF(crypt_group)
#define crypt_units PIECE_OF(crypt_units)
#define xts_encrypt PIECE_OF(xts_encrypt)
#define xts_decrypt PIECE_OF(xts_decrypt)

/* `forget_vectors`, and the registers that only the widest one has. */
VECTOR_INLINE void forget(void) {
    forget_vectors();
#if LANES == 4
    __asm__ volatile("vpxorq %%zmm16, %%zmm16, %%zmm16\n\tvpxorq %%zmm17, %%zmm17, %%zmm17\n\t"
                     "vpxorq %%zmm18, %%zmm18, %%zmm18\n\tvpxorq %%zmm19, %%zmm19, %%zmm19\n\t"
                     "vpxorq %%zmm20, %%zmm20, %%zmm20\n\tvpxorq %%zmm21, %%zmm21, %%zmm21\n\t"
                     "vpxorq %%zmm22, %%zmm22, %%zmm22\n\tvpxorq %%zmm23, %%zmm23, %%zmm23\n\t"
                     "vpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
                     "vpxorq %%zmm26, %%zmm26, %%zmm26\n\tvpxorq %%zmm27, %%zmm27, %%zmm27\n\t"
                     "vpxorq %%zmm28, %%zmm28, %%zmm28\n\tvpxorq %%zmm29, %%zmm29, %%zmm29\n\t"
                     "vpxorq %%zmm30, %%zmm30, %%zmm30\n\tvpxorq %%zmm31, %%zmm31, %%zmm31" ::
                         : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                           "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
#endif
}

/* --- Tweaks ---------------------------------------------------------------------------------- */

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

/* The tweaks of a group, from those of the one before. */
VECTOR_INLINE void next_group(VECTOR *t) {
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++)
        t[i] = times_x(t[i], LANES * GROUP);
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
    forget();
}

VECTOR_FUNCTION void xts_encrypt(const struct xts_keys *keys, uint8_t *out, const uint8_t *in,
                                 size_t count, uint64_t sector, unsigned at) {
    crypt_units(keys, true, out, in, count, sector, at);
}

VECTOR_FUNCTION void xts_decrypt(const struct xts_keys *keys, uint8_t *out, const uint8_t *in,
                                 size_t count, uint64_t sector, unsigned at) {
    crypt_units(keys, false, out, in, count, sector, at);
}

#undef TARGET
#undef VECTOR
#undef OP
#undef WHOLE
#undef AES
#undef EVERY_LANE
#undef MULTIPLY
#undef SWAP_HALVES
#undef XOR_HIGH
#undef POWERS
#undef PIECE_OF
#undef VECTOR_FUNCTION
#undef VECTOR_INLINE
#undef GROUP_BYTES
#undef forget
#undef reduce
#undef times_x
#undef first_tweaks
#undef next_group
#undef crypt_group
#undef crypt_units
#undef xts_encrypt
#undef xts_decrypt
#undef LANES
