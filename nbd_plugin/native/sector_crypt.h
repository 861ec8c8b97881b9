/* A sector under any key, in whichever way: for tests against published vectors. */
#ifndef EVSD_SECTOR_CRYPT_H
#define EVSD_SECTOR_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `count` bytes from `at` on of the sector `unit`, which counts in 512 bytes, by the width `by` of
 * `xts.h` or, for 0, by libcrypto, which takes whole sectors. 0 or an errno, EINVAL where it can't
 * be had. */
int sector_crypt(const uint8_t *dek, uint64_t unit, const uint8_t *data, uint8_t *out, size_t count,
                 unsigned at, bool encrypt, int by);

#endif
