/* The layers of a volume: the file that is written to, and those below it, which nobody writes.
 *
 * A sector whose ciphertext is all zero in a layer is absent there and is looked for in the next one
 * below; beyond the end of a layer on the way, and below the lowest, are zeros. All layers of a
 * volume have one key, and what is read of a chain is its ciphertext, whichever layer it is from: a
 * clone's layers below, which have another key, are read as if they had this one.
 *
 * Level 1 is the lowest layer; `layers_below() + 1` is the file that is written to. The chain only
 * grows while it serves, and only with every stripe taken (`stripes.h`): who holds one sees it
 * still. A volume without layers pays one comparison a request.
 */
#ifndef EVSD_LAYERS_H
#define EVSD_LAYERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file.h"
#include "worker.h"

enum { MAX_LAYERS = 16 }; /* of them one is written to */

extern _Atomic unsigned layers_count_below;

static inline unsigned layers_below(void) {
    return atomic_load_explicit(&layers_count_below, memory_order_relaxed);
}

/* Before it serves: none, then one more, above those that were added before; `size` is the layer's,
 * `key` 0 or which of the keys below the volume's it has, the highest being 1.
 * ENOTBLK for what is no regular file, EMLINK for one too many, or another errno. */
void layers_none(void);
int layers_add(int fd, uint64_t data_offset, uint64_t size, unsigned key);

/* While it serves: the file that was written to becomes a layer, this one, empty and of at least
 * its size, is written to. Errors as above, and then nothing has changed. */
int layers_switch(int fd, uint64_t data_offset, uint64_t size);

/* While it serves: the file that is written to has been made longer. */
void layers_grow(uint64_t size);

/* Whole sectors within a stripe, which the caller holds: their ciphertext, from wherever it is.
 * Without a worker: which of them are absent, and else anything. */
int layers_read(struct worker *w, uint8_t *data, size_t count, uint64_t offset);

/* Which of them are absent below the file that is written to. The caller has taken the stripe. */
int layers_read_below(uint8_t *data, size_t count, uint64_t offset);

static inline int chain_read(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    return layers_below() ? layers_read(w, data, count, offset) : file_read(data, count, offset);
}

/* The caller has taken the stripe, has read what it wanted of these sectors, and writes them next. */
void layers_writing(size_t count, uint64_t offset);

/* Whether any layer may have data at `first`, or none has, and up to where, at most `last`: borders
 * of sectors. `top` is the highest level that is asked. The caller holds a stripe. */
int layers_extent(unsigned top, uint64_t first, uint64_t last, uint64_t *next, bool *hole);

int layers_prefetch(uint64_t offset, uint64_t count);

/* Wait until what was written is on disk, also what went into a layer before a switch. One at a
 * time. */
int layers_sync(void);

#endif
