/* What a layer has under another key than the volume's, under the volume's: in a clone. */
#ifndef EVSD_RECRYPT_H
#define EVSD_RECRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "worker.h"

/* Whole sectors at the volume's `offset`, at most CHUNK bytes, in place; those that are absent stay
 * so. `key` counts those below the volume's own, from 1 on. 0 or an errno. */
int recrypt(struct worker *w, unsigned key, uint8_t *data, size_t count, uint64_t offset);

#endif
