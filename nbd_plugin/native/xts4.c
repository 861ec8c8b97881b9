/* AES-XTS with four blocks in a vector: VAES with AVX-512. */
#include "xts_blocks.h"

#ifdef HAVE_XTS
#define LANES 4
#define TARGET "avx512f,avx512vl,avx512bw,vaes,vpclmulqdq,aes"
#define VECTOR __m512i
#define OP(name) _mm512_##name
#define WHOLE(name) _mm512_##name##_si512
#define AES(name) _mm512_##name##_epi128
#define EVERY_LANE(block) _mm512_broadcast_i32x4(block)
#define MULTIPLY(a, b) _mm512_clmulepi64_epi128(a, b, 0)
#define SHIFT_LEFT(t, bytes) _mm512_bslli_epi128(t, bytes)
#define SHIFT_RIGHT(t, bytes) _mm512_bsrli_epi128(t, bytes)
#define SWAP_HALVES(t) _mm512_shuffle_epi32(t, _MM_PERM_BADC)
#define XOR_HIGH(t, carries) _mm512_mask_xor_epi64(t, 0xaa, t, carries)
#define POWERS _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0)
#define FORGET forget_all_vectors
#define ENCRYPT xts_encrypt4
#define DECRYPT xts_decrypt4

/* And the registers that AVX-512 alone has. */
__attribute__((target(TARGET), always_inline)) static inline void forget_all_vectors(void) {
    forget_vectors();
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
}

#include "xts_lanes.h"
#endif
