/* Which volume is served: one a process.
 *
 * What can be asked of it, at any byte offset, is in `read.h`, `write.h`, `zero.h`, `flush.h` and
 * `extents.h`. The unit of encryption is the 4096-byte sector, the unit of locking the 64 KiB
 * stripe.
 *
 * All of them return 0 or an errno.
 */
#ifndef EVSD_VOLUME_H
#define EVSD_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

/* From now on `size` bytes at `data_offset` of an open file. 0 or an errno. */
int volume_set(int fd, uint64_t data_offset, uint64_t size, bool thin);

bool volume_is_thin(void);

/* Whether the range is within it. */
bool volume_has(uint64_t offset, uint64_t count);

/* Read ahead, into the page cache. */
int volume_prefetch(uint64_t offset, uint64_t count);

#endif
