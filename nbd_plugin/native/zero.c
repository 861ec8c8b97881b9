#include "zero.h"

#include <errno.h>
#include <fcntl.h>

#include "file.h"
#include "holes.h"
#include "layers.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"
#include "worker_pools.h"
#include "write.h"
#include "zero_layers.h"

enum { HAS_LAYERS = -1 }; /* since a moment ago: no errno */

static int allocate(int mode, uint64_t offset, uint64_t count) {
    stripes_take(offset, count);
    int err = layers_below() ? HAS_LAYERS : file_allocate(mode, offset, count);
    stripes_leave(offset, count);
    return err;
}

/* Ciphertext zeros, which a thin volume reads as zeros. */
static int store_zeros(uint64_t offset, uint64_t count) {
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        stripe_take(offset);
        err = layers_below() ? HAS_LAYERS : file_write(zeros, n, offset);
        stripe_leave(offset);
        offset += n;
        count -= n;
    }
    return err;
}

static int zero_file(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    if (fast && !may_trim && !file_is_regular())
        return EOPNOTSUPP; /* the kernel may write the zeros itself */
    int err = allocate(may_trim ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, count);
    return err == EOPNOTSUPP && !fast ? store_zeros(offset, count) : err;
}

static int zero_sectors(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    int err = layers_below() ? HAS_LAYERS : zero_file(offset, count, may_trim, fast);
    return err == HAS_LAYERS ? layers_zero(offset, count, may_trim, fast) : err;
}

/* A part of a sector. One that is a hole has zeros already, and may stay a hole. */
static int zero_part(uint64_t offset, uint64_t count, bool may_trim) {
    uint8_t sector[SECTOR];
    uint64_t first = sector_floor(offset);
    stripe_share(first);
    int err = may_trim ? chain_read(NULL, sector, SECTOR, first) : 0;
    stripe_leave(first);
    if (err || (may_trim && is_zero(sector, SECTOR)))
        return err;
    return volume_write(NULL, count, offset);
}

int volume_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    if (!volume_has(offset, count))
        return EINVAL;
    if (!pools_are_open())
        return EPERM;
    if (!volume_is_thin())
        return fast ? EOPNOTSUPP : volume_write(NULL, count, offset);
    uint64_t end = offset + count, whole = sector_ceiling(offset), whole_end = sector_floor(end);
    if (whole > whole_end) /* a part of one sector */
        return zero_part(offset, count, may_trim);
    int err = whole < whole_end ? zero_sectors(whole, whole_end - whole, may_trim, fast) : 0;
    if (!err && offset < whole)
        err = zero_part(offset, whole - offset, may_trim);
    if (!err && whole_end < end)
        err = zero_part(whole_end, end - whole_end, may_trim);
    return err;
}

int volume_trim(uint64_t offset, uint64_t count) {
    if (!volume_has(offset, count))
        return EINVAL;
    return volume_is_thin() ? volume_zero(offset, count, true, false) : 0;
}
