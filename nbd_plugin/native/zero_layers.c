#include "zero_layers.h"

#include <errno.h>
#include <fcntl.h>

#include "holes.h"
#include "layers.h"
#include "sector.h"
#include "stripes.h"
#include "worker_pools.h"

enum { WINDOW = 16 * CHUNK }; /* locked at a time: others wait for so much at most */

/* Sectors of a stripe that is taken. */
static int write_zeros(struct worker *w, uint64_t offset, size_t count) {
    int err = worker_encrypt(w, w->buffer, zeros, count, offset);
    layers_writing(count, offset);
    return err ? err : file_write(w->buffer, count, offset);
}

/* Of a chunk whose layers below may have data: only where they do. The stripe is taken. */
static int zero_over(struct worker *w, uint64_t offset, size_t count, int mode) {
    uint16_t there = 0;
    int err = layers_read_below(w->buffer, count, offset);
    for (size_t at = 0; !err && at < count; at += SECTOR)
        there |= !is_zero(w->buffer + at, SECTOR) << at / SECTOR;
    for (size_t at = 0, start; !err && at < count;) {
        bool data = there >> at / SECTOR & 1;
        for (start = at; at < count && (there >> at / SECTOR & 1) == data;)
            at += SECTOR;
        err = data ? EOPNOTSUPP : file_allocate(mode, offset + start, at - start);
        if (err == EOPNOTSUPP)
            err = write_zeros(w, offset + start, at - start);
    }
    return err;
}

/* A part of the window, which is taken: `done` is how much. */
static int zero_some(struct worker *w, uint64_t offset, uint64_t count, int mode, uint64_t *done) {
    bool hole;
    uint64_t next;
    int err = layers_extent(layers_below(), offset, offset + count, &next, &hole);
    *done = next - offset;
    if (!err && hole)
        err = file_allocate(mode, offset, *done);
    if (err != EOPNOTSUPP && (err || hole))
        return err;
    *done = chunk_at(offset, *done);
    return zero_over(w, offset, *done, mode);
}

static int zero_window(struct worker *w, uint64_t offset, uint64_t count, int mode) {
    int err = 0;
    stripes_take(offset, count);
    for (uint64_t at = offset, end = offset + count, done; !err && at < end; at += done)
        err = zero_some(w, at, end - at, mode, &done);
    stripes_leave(offset, count);
    return err;
}

static bool data_below(uint64_t offset, uint64_t count) {
    bool hole = true;
    int err = 0;
    for (uint64_t at = offset, end = offset + count; !err && hole && at < end;)
        err = layers_extent(layers_below(), at, end, &at, &hole);
    return err || !hole;
}

int layers_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    if (fast && data_below(offset, count))
        return EOPNOTSUPP;
    struct worker *w = pools_get();
    int err = w ? 0 : errno;
    while (!err && count) {
        uint64_t n = WINDOW - offset % WINDOW;
        n = n < count ? n : count;
        err = zero_window(w, offset, n, may_trim ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
        offset += n;
        count -= n;
    }
    if (w)
        pools_put(w);
    return err;
}
