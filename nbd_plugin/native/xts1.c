/* AES-XTS with one block in a vector. */
#include "xts_blocks.h"

#ifdef HAVE_XTS
#define LANES 1
#define TARGET "avx2,pclmul,aes"
#define VECTOR __m128i
#define OP(name) _mm_##name
#define WHOLE(name) _mm_##name##_si128
#define AES(name) _mm_##name##_si128
#define EVERY_LANE(block) (block)
#define MULTIPLY(a, b) _mm_clmulepi64_si128(a, b, 0)
#define SHIFT_LEFT(t, bytes) _mm_slli_si128(t, bytes)
#define SHIFT_RIGHT(t, bytes) _mm_srli_si128(t, bytes)
#define SWAP_HALVES(t) _mm_shuffle_epi32(t, 0x4e)
#define XOR_HIGH(t, carries) ((t) ^ _mm_blend_epi32(_mm_setzero_si128(), carries, 0xc))
#define POWERS _mm_setzero_si128()
#define FORGET forget_vectors
#define ENCRYPT xts_encrypt1
#define DECRYPT xts_decrypt1
#include "xts_lanes.h"
#endif
