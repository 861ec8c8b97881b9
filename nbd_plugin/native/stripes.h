/* Locks, one for each stripe of CHUNK bytes: readers share it, writers have it alone.
 *
 * So the read-modify-write of a partial sector never loses the update of a neighbour, and nobody
 * reads a sector of a thin volume while it changes from a hole to ciphertext (half of each would
 * decrypt to noise). Requests are cut at stripes' borders and hold one stripe at a time; only
 * zeroing and discarding hold several, in ascending order.
 */
#ifndef EVSD_STRIPES_H
#define EVSD_STRIPES_H

#include <stdint.h>

void stripes_init(void);

/* The stripe of an offset. */
void stripe_share(uint64_t offset);
void stripe_take(uint64_t offset);
void stripe_leave(uint64_t offset);

/* Every stripe of a range, alone. */
void stripes_take(uint64_t offset, uint64_t count);
void stripes_leave(uint64_t offset, uint64_t count);

/* All there are: no request is between reading and writing. Who has them may take them again. */
void stripes_take_all(void);
void stripes_leave_all(void);

#endif
