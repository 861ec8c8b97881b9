/* AES-XTS with two blocks in a vector: VAES without AVX-512. */
#include "xts_blocks.h"

#ifdef HAVE_XTS
#define LANES 2
#define TARGET "avx2,vaes,vpclmulqdq,aes"
#define VECTOR __m256i
#define OP(name) _mm256_##name
#define WHOLE(name) _mm256_##name##_si256
#define AES(name) _mm256_##name##_epi128
#define EVERY_LANE(block) _mm256_broadcastsi128_si256(block)
#define MULTIPLY(a, b) _mm256_clmulepi64_epi128(a, b, 0)
#define SHIFT_LEFT(t, bytes) _mm256_bslli_epi128(t, bytes)
#define SHIFT_RIGHT(t, bytes) _mm256_bsrli_epi128(t, bytes)
#define SWAP_HALVES(t) _mm256_shuffle_epi32(t, 0x4e)
#define XOR_HIGH(t, carries) ((t) ^ _mm256_blend_epi32(_mm256_setzero_si256(), carries, 0xcc))
#define POWERS _mm256_set_epi64x(1, 1, 0, 0)
#define FORGET forget_vectors
#define ENCRYPT xts_encrypt2
#define DECRYPT xts_decrypt2
#include "xts_lanes.h"
#endif
