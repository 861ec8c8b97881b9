#include "layers.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "holes.h"
#include "layer_map.h"
#include "recrypt.h"
#include "sector.h"
#include "stripes.h"
#include "volume.h"

_Atomic unsigned layers_count_below;

static struct file below[MAX_LAYERS - 1]; /* the lowest first */
static unsigned synced;                   /* so many of them are on disk for certain */

static uint64_t size_of(const struct file *layer) { return layer->end - layer->data_offset; }

/* --- The chain ------------------------------------------------------------------------------- */

void layers_none(void) {
    layers_count_below = synced = 0;
    layer_map_reset();
}

static int check(const struct file *layer) {
    if (!layer->regular)
        return ENOTBLK;
    return layers_below() < MAX_LAYERS - 1 ? 0 : EMLINK;
}

int layers_add(int fd, uint64_t data_offset, uint64_t size, unsigned key) {
    struct file layer, top = file_get();
    int err = file_describe(&layer, fd, data_offset, size);
    if (!err)
        err = top.regular ? check(&layer) : ENOTBLK;
    if (err)
        return err;
    layer.key = key;
    below[layers_below()] = layer;
    layers_count_below++;
    layer_map_reserve(size_of(&top));
    return 0;
}

int layers_switch(int fd, uint64_t data_offset, uint64_t size) {
    struct file next, top = file_get();
    int err = file_describe(&next, fd, data_offset, size);
    if (!err)
        err = top.regular ? check(&next) : ENOTBLK;
    if (!err && (size < size_of(&top) || size % SECTOR))
        err = EINVAL;
    if (err)
        return err;
    stripes_take_all();
    below[layers_below()] = top;
    layers_count_below++;
    layer_map_reserve(size);
    file_set(&next);
    volume_grow(size);
    stripes_leave_all();
    return 0;
}

void layers_grow(uint64_t size) {
    stripes_take_all();
    if (layers_below())
        layer_map_reserve(size);
    volume_grow(size);
    stripes_leave_all();
}

/* --- Where to begin -------------------------------------------------------------------------- */

static int extent_of(const struct file *in, bool trusted, uint64_t first, uint64_t last,
                     uint64_t *next, bool *hole) {
    *next = last;
    *hole = false;
    if (!trusted)
        return 0;
    uint64_t data;
    int err = file_seek_of(in, SEEK_DATA, first, last, &data);
    *next = data < last ? sector_floor(data) : last;
    *hole = !err && *next > first;
    if (err || *hole)
        return err;
    err = file_seek_of(in, SEEK_HOLE, data, last, next);
    *next = sector_ceiling(*next);
    return err;
}

/* Of a stripe's sectors, those in `open` that a level may have begin there. */
static int learn_level(const struct file *in, unsigned level, uint64_t first, uint16_t *open) {
    uint64_t end = size_of(in) < first + CHUNK ? size_of(in) : first + CHUNK;
    int err = 0;
    bool hole;
    if (end < first + CHUNK) /* what is beyond is zeros, whatever is further down: left unknown */
        *open &= end > first ? (1u << (end - first) / SECTOR) - 1 : 0;
    for (uint64_t at = first, next; !err && *open && at < end; at = next) {
        err = extent_of(in, in->tells_holes, at, end, &next, &hole);
        for (uint64_t sector = at; !err && !hole && sector < next; sector += SECTOR) {
            uint16_t bit = 1u << (sector - first) / SECTOR;
            if (*open & bit && level <= layers_below())
                layer_map_note(sector, level);
            *open &= ~bit;
        }
    }
    return err;
}

/* Ask all layers at once about a stripe that nothing is known of: reading each hole costs more. The
 * lowest need not be asked. */
static void learn(uint64_t offset) {
    uint64_t first = offset / CHUNK * CHUNK;
    uint16_t open = UINT16_MAX;
    struct file top = file_get();
    if (!top.seeks_fast)
        return;
    int err = learn_level(&top, layers_below() + 1, first, &open);
    for (unsigned level = layers_below(); !err && level > 1; level--)
        err = learn_level(&below[level - 1], level, first, &open);
    for (unsigned i = 0; !err && i < CHUNK / SECTOR; i++)
        if (open >> i & 1)
            layer_map_note(first + i * SECTOR, 1);
}

/* --- Reading --------------------------------------------------------------------------------- */

static int read_from(struct worker *w, unsigned level, uint8_t *data, size_t count,
                     uint64_t offset);

/* What the file that is written to does not have. */
static int read_absent(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    int err = 0;
    if (!layer_map_knows(offset))
        learn(offset);
    while (count && !err) {
        unsigned level;
        size_t n = layer_map_find(offset, count, &level);
        err = read_from(w, level ? level : layers_below(), data, n, offset);
        data += n;
        offset += n;
        count -= n;
    }
    return err;
}

/* What was found at a level stays; the absent sectors come from below, a run at a time. */
static int complete(struct worker *w, unsigned level, uint8_t *data, size_t count,
                    uint64_t offset) {
    int err = 0;
    for (size_t at = 0, start; !err && at < count;) {
        for (start = at; at < count && is_zero(data + at, SECTOR);)
            at += SECTOR;
        if (at > start && level > layers_below())
            err = read_absent(w, data + start, at - start, offset + start);
        else if (at > start)
            err = read_from(w, level - 1, data + start, at - start, offset + start);
        else {
            if (level <= layers_below())
                layer_map_note(offset + at, level);
            at += SECTOR;
        }
    }
    return err;
}

static int read_from(struct worker *w, unsigned level, uint8_t *data, size_t count,
                     uint64_t offset) {
    if (level > layers_below()) {
        int err = file_read(data, count, offset);
        return err ? err : complete(w, level, data, count, offset);
    }
    const struct file *layer = &below[level - 1];
    uint64_t size = size_of(layer);
    size_t there = offset >= size ? 0 : size - offset < count ? size - offset : count;
    memset(data + there, 0, count - there); /* whatever is further down */
    int err = there ? file_read_of(layer, data, there, offset) : 0;
    if (!err && layer->key && w)
        err = recrypt(w, layer->key, data, there, offset);
    if (err || level > 1)
        return err ? err : complete(w, level, data, there, offset);
    for (size_t at = 0; at < there; at += SECTOR)
        layer_map_note(offset + at, level);
    return 0;
}

int layers_read(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    int err = 0;
    while (count && !err) {
        unsigned level;
        size_t n = layer_map_find(offset, count, &level);
        err = read_from(w, level ? level : layers_below() + 1, data, n, offset);
        data += n;
        offset += n;
        count -= n;
    }
    return err;
}

int layers_read_below(uint8_t *data, size_t count, uint64_t offset) {
    int err = read_from(NULL, layers_below(), data, count, offset);
    layer_map_forget(offset, count); /* the file above may have what was found here */
    return err;
}

void layers_writing(size_t count, uint64_t offset) {
    if (layers_below())
        layer_map_forget(offset, count);
}

/* --- Where data is --------------------------------------------------------------------------- */

int layers_extent(unsigned top, uint64_t first, uint64_t last, uint64_t *next, bool *hole) {
    struct file written = file_get();
    unsigned highest = layers_below() + 1;
    int err = 0;
    *hole = true;
    *next = last;
    for (unsigned level = top; !err && *hole && level; level--) {
        const struct file *in = level == highest ? &written : &below[level - 1];
        if (first >= size_of(in))
            break;
        last = last < size_of(in) ? last : size_of(in);
        err = extent_of(in, highest == 1 || in->tells_holes, first, last, next, hole);
        last = *next;
    }
    return err;
}

int layers_prefetch(uint64_t offset, uint64_t count) {
    int err = file_prefetch(offset, count);
    for (unsigned i = 0; i < layers_below(); i++)
        file_prefetch_of(&below[i], offset, count);
    return err;
}

/* --- Writing back ---------------------------------------------------------------------------- */

int layers_sync(void) {
    stripe_share(0);
    struct file top = file_get();
    unsigned all = layers_below();
    stripe_leave(0);
    int err = file_sync_of(&top);
    for (; !err && synced < all; synced += !err)
        err = file_sync_of(&below[synced]);
    return err;
}
