#include "read.h"

#include <errno.h>
#include <string.h>

#include "file.h"
#include "holes.h"
#include "key.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"

static int read_sectors(struct worker *w, uint8_t *data, size_t count, uint64_t offset,
                        bool may_block) {
    int err = stripe_share(offset, may_block);
    if (err)
        return err;
    err = file_read(data, count, offset, may_block);
    stripe_leave(offset);
    return err ? err : holes_decrypt(w, data, count, offset);
}

static int read_chunk(struct worker *w, uint8_t *data, size_t count, uint64_t offset,
                      bool may_block) {
    uint64_t first = sector_floor(offset), end = sector_ceiling(offset + count);
    if (end - first == count)
        return read_sectors(w, data, count, offset, may_block);
    int err = read_sectors(w, w->buffer, end - first, first, may_block);
    if (!err)
        memcpy(data, w->buffer + (offset - first), count);
    return err;
}

int volume_read(uint8_t *data, uint64_t count, uint64_t offset, bool may_block) {
    if (!volume_has(offset, count))
        return EINVAL;
    struct worker *w = key_get_worker();
    if (!w)
        return errno;
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        err = read_chunk(w, data, n, offset, may_block);
        data += n;
        offset += n;
        count -= n;
    }
    key_put_worker(w);
    return err;
}
