/* Zeroing and discarding: holes where a thin volume may have them. */
#ifndef EVSD_ZERO_H
#define EVSD_ZERO_H

#include <stdbool.h>
#include <stdint.h>

/* `fast` fails with EOPNOTSUPP, and changes nothing, where it would be as slow as writing. */
int volume_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast);

/* Discarded is zero in a thin volume, also a part of a sector: through nbdfuse a hole that somebody
 * punches into a file comes as this, and a hole promises zeros. A thick volume ignores it. */
int volume_trim(uint64_t offset, uint64_t count);

#endif
