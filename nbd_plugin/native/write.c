#include "write.h"

#include <errno.h>
#include <string.h>

#include "file.h"
#include "holes.h"
#include "layers.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"
#include "worker_pools.h"

/* Put `count` bytes at `from` of the sector at `offset` into `slot`, encrypted with the rest of
 * that sector. The caller has the stripe alone. A NULL source is zeros. */
static int merge_sector(struct worker *w, uint8_t *slot, uint64_t offset, const uint8_t *source,
                        size_t from, size_t count) {
    int err = chain_read(w, slot, SECTOR, offset);
    if (!err)
        err = holes_decrypt(w, slot, SECTOR, offset);
    if (err)
        return err;
    memcpy(slot + from, source ? source : zeros, count);
    return worker_encrypt(w, slot, slot, SECTOR, offset);
}

/* Read the partial sectors at the ends of [offset, end) and complete them. */
static int merge_ends(struct worker *w, const uint8_t *data, uint64_t offset, uint64_t end) {
    uint64_t first = sector_floor(offset), last = sector_floor(end);
    int err = 0;
    if (offset != first) {
        uint64_t stop = end < first + SECTOR ? end : first + SECTOR;
        err = merge_sector(w, w->buffer, first, data, offset - first, stop - offset);
    }
    if (!err && end != last && (offset == first || last != first))
        err = merge_sector(w, w->buffer + (last - first), last,
                           data ? data + (last - offset) : NULL, 0, end - last);
    return err;
}

/* Whether it is a part of one sector that can be encrypted by itself: in XTS each block of 16 bytes
 * depends on its place and the key alone. */
static bool is_part(const struct worker *w, uint64_t offset, size_t count) {
    return worker_takes_parts(w) && offset % UNIT == 0 && count % UNIT == 0 &&
           sector_floor(offset) == sector_floor(offset + count - 1) && count < SECTOR;
}

/* Overwrite a part of a sector. `*done` is false, and nothing was written, where that part has no
 * ciphertext: the sector may be a hole. */
static int write_part(struct worker *w, const uint8_t *data, size_t count, uint64_t offset,
                      bool *done) {
    bool holes = volume_has_holes();
    int err = holes ? file_read(w->buffer, count, offset) : 0;
    *done = !err && !(holes && is_zero(w->buffer, count));
    if (!*done)
        return err;
    err = worker_encrypt(w, w->buffer, data ? data : zeros, count, offset);
    return err ? err : file_write(w->buffer, count, offset);
}

static int write_chunk(struct worker *w, const uint8_t *data, size_t count, uint64_t offset) {
    uint64_t end = offset + count, first = sector_floor(offset);
    uint64_t whole = sector_ceiling(offset), whole_end = sector_floor(end);
    int err = 0;
    if (whole < whole_end)
        err = worker_encrypt(w, w->buffer + (whole - first),
                              data ? data + (whole - offset) : zeros, whole_end - whole, whole);
    if (err)
        return err;
    stripe_take(offset);
    bool done = false;
    if (is_part(w, offset, count))
        err = write_part(w, data, count, offset, &done);
    if (!err && !done)
        err = merge_ends(w, data, offset, end);
    if (!err && !done) {
        layers_writing(sector_ceiling(end) - first, first);
        err = file_write(w->buffer, sector_ceiling(end) - first, first);
    }
    stripe_leave(offset);
    return err;
}

int volume_write(const uint8_t *data, uint64_t count, uint64_t offset) {
    if (!volume_has(offset, count))
        return EINVAL;
    struct worker *w = pools_get();
    if (!w)
        return errno;
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        err = write_chunk(w, data, n, offset);
        data = data ? data + n : NULL;
        offset += n;
        count -= n;
    }
    pools_put(w);
    return err;
}
