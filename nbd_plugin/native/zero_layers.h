/* Zeroing in a volume with layers: a hole would show what is below. */
#ifndef EVSD_ZERO_LAYERS_H
#define EVSD_ZERO_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

/* Whole sectors, of a volume with layers: ciphertext of zeros over what a lower layer has, holes
 * elsewhere, or where `may_trim` is false space that is kept. `fast` fails with EOPNOTSUPP, and
 * changes nothing, where a lower layer may have data. So it writes at most what is below. */
int layers_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast);

#endif
