#include "extents.h"

#include <errno.h>

#include "layers.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"

int volume_extents(uint64_t offset, uint64_t count, struct extent *extents, size_t limit,
                   size_t *filled) {
    *filled = 0;
    if (!volume_has(offset, count))
        return EINVAL;
    uint64_t at = offset, end = offset + count, next;
    while (at < end && *filled < limit) {
        bool hole;
        stripe_share(at); /* the chain stays as it is */
        int err = layers_extent(layers_below() + 1, sector_floor(at), sector_ceiling(end), &next,
                                &hole);
        stripe_leave(at);
        if (err)
            return err;
        next = next < end ? next : end;
        extents[(*filled)++] = (struct extent){at, next - at, hole};
        at = next;
    }
    return 0;
}
