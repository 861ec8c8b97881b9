/* Where a volume has data, and where holes. */
#ifndef EVSD_EXTENTS_H
#define EVSD_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent {
    uint64_t offset, length;
    bool hole;
};

/* Fill `extents`, at most `limit`, from `offset` to the end of the range and not beyond: a length
 * of 4 GiB would not fit into an answer. A sector of which the file holds any part is data. */
int volume_extents(uint64_t offset, uint64_t count, struct extent *extents, size_t limit,
                   size_t *filled);

#endif
