#include "read.h"

#include <errno.h>
#include <string.h>

#include "holes.h"
#include "layers.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"
#include "worker_pools.h"

static int read_sectors(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    stripe_share(offset);
    int err = chain_read(w, data, count, offset);
    stripe_leave(offset);
    return err ? err : holes_decrypt(w, data, count, offset);
}

static int read_chunk(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    uint64_t first = sector_floor(offset), end = sector_ceiling(offset + count);
    if (end - first == count)
        return read_sectors(w, data, count, offset);
    int err = read_sectors(w, w->buffer, end - first, first);
    if (!err)
        memcpy(data, w->buffer + (offset - first), count);
    return err;
}

int volume_read(uint8_t *data, uint64_t count, uint64_t offset) {
    if (!volume_has(offset, count))
        return EINVAL;
    struct worker *w = pools_get();
    if (!w)
        return errno;
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        err = read_chunk(w, data, n, offset);
        data += n;
        offset += n;
        count -= n;
    }
    pools_put(w);
    return err;
}
