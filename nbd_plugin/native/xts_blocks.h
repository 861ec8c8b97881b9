/* What the files of `xts.h` share: blocks of 128 bits in vector registers. */
#ifndef EVSD_XTS_BLOCKS_H
#define EVSD_XTS_BLOCKS_H

#include "xts.h"

/* EVSD_NO_XTS: sanitizers' build tests libcrypto's way, which such a processor would never take. */
#if defined(__x86_64__) && !defined(EVSD_NO_XTS)
#define HAVE_XTS 1
#include <immintrin.h>

#define BLOCK_FUNCTION __attribute__((target("avx,aes")))
#define BLOCK_INLINE __attribute__((target("avx,aes"), always_inline)) static inline

/* The vector registers hold keys: nothing of them may get into a signal's frame on the stack. */
BLOCK_INLINE void forget_vectors(void) {
    __asm__ volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                     "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* One lane of a round key. */
BLOCK_INLINE __m128i block_of(const round_key key) { return *(const __m128i *)key; }

/* Each width: whole units, as `xts_crypt` takes them. */
typedef void xts_width(const struct xts_keys *keys, uint8_t *out, const uint8_t *in, size_t count,
                       uint64_t sector, unsigned at);
xts_width xts_encrypt1, xts_decrypt1, xts_encrypt2, xts_decrypt2, xts_encrypt4, xts_decrypt4;

#endif
#endif
