/* AES-256-XTS of sectors with dm-crypt's plain64 tweak, for processors with AES instructions.
 *
 * libcrypto 3.0 (Debian 12) does one block of 128 bits per instruction, and a quarter of its time
 * goes into setting a sector's IV. Newer processors take two or four blocks per instruction: a
 * vector of so many lanes. Each width is a file, `xts1.c` and so on; the widest that gives the
 * right answer is used. Without any the data path uses libcrypto.
 *
 * XTS: sector n has the tweak T = AES(tweak key, 8n); block i is AES(data key, P ^ Tx^i) ^ Tx^i,
 * where x^i multiplies in GF(2^128) with the polynomial x^128 + x^7 + x^2 + x + 1 (0x87).
 */
#ifndef EVSD_XTS_H
#define EVSD_XTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_LANES = 4, ROUND_KEYS = 15 };

typedef uint8_t round_key[16 * MAX_LANES]; /* the same in each lane, as the instructions take it */

struct xts_keys {
    round_key encrypt[ROUND_KEYS], decrypt[ROUND_KEYS], tweak[ROUND_KEYS];
} __attribute__((aligned(16 * MAX_LANES)));

/* The width that this process uses, 0 for none: then only `xts_supported` may be called. */
int xts_lanes(void);

/* Whether the processor has what a width takes. */
bool xts_supported(int lanes);

void xts_set_key(struct xts_keys *keys, const uint8_t dek[64]);

/* Whole units of at most CHUNK / SECTOR sectors; `out` may be `in`. The first one is `at` bytes
 * into the sector with that number, which counts in 512 bytes. */
void xts_crypt(const struct xts_keys *keys, int lanes, bool encrypt, uint8_t *out,
               const uint8_t *in, size_t count, uint64_t sector, unsigned at);

#endif
