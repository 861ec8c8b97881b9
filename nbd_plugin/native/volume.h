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

/* From now on `size` bytes at `data_offset` of an open file. A thick one `is_layer` where sectors
 * may be absent all the same. 0 or an errno. */
int volume_set(int fd, uint64_t data_offset, uint64_t size, bool thin, bool is_layer);

/* It has more bytes from now on; a connection that is open goes on with what it knew. */
void volume_grow(uint64_t size);

bool volume_is_thin(void);

/* Whether a sector of ciphertext zeros is one that is not there: in a thin volume, and in layers. */
bool volume_has_holes(void);

/* Whether the range is within it. */
bool volume_has(uint64_t offset, uint64_t count);

/* Read ahead, into the page cache. */
int volume_prefetch(uint64_t offset, uint64_t count);

#endif
