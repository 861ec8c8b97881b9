#include "extents.h"

#include <errno.h>
#include <unistd.h>

#include "file.h"
#include "sector.h"
#include "volume.h"

int volume_extents(uint64_t offset, uint64_t count, struct extent *extents, size_t limit,
                   size_t *filled) {
    *filled = 0;
    if (!volume_has(offset, count))
        return EINVAL;
    uint64_t at = offset, end = offset + count, data, next;
    while (at < end && *filled < limit) {
        uint64_t first = sector_floor(at), last = sector_ceiling(end);
        int err = file_seek(SEEK_DATA, first, last, &data);
        next = data < last ? sector_floor(data) : last;
        bool hole = !err && next > at;
        if (!err && !hole) {
            err = file_seek(SEEK_HOLE, data, last, &next);
            next = sector_ceiling(next);
        }
        if (err)
            return err;
        next = next < end ? next : end;
        extents[(*filled)++] = (struct extent){at, next - at, hole};
        at = next;
    }
    return 0;
}
