/* The front: a plugin of nbdkit's that is nbdkit's own Python plugin with other callbacks for data.
 *
 * The Python plugin takes the GIL round every callback, also round compiled ones, so that all of a
 * volume's requests wait for each other. The front gives nbdkit the Python plugin's own callbacks
 * for configuration, opening and closing, and for data those that it is handed here. Without the
 * front, `nbdkit python plugin.py`, there is no such function.
 */
#ifndef EVSD_FRONT_H
#define EVSD_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extents.h"

/* What each may do is in the header of the function that stands for it, `data_path.c`. */
struct data_path {
    int (*read)(uint8_t *data, uint64_t count, uint64_t offset);
    int (*write)(const uint8_t *data, uint64_t count, uint64_t offset);
    int (*zero)(uint64_t offset, uint64_t count, bool may_trim, bool fast);
    int (*trim)(uint64_t offset, uint64_t count);
    int (*flush)(void);
    int (*prefetch)(uint64_t offset, uint64_t count);
    int (*extents)(uint64_t offset, uint64_t count, struct extent *extents, size_t limit,
                   size_t *filled);
    const char *(*remedy)(int error);
};

/* From now on requests go there. To be called once, in the process that serves and before it has
 * threads: not before nbdkit has forked. */
void evsd_front_take(const struct data_path *path) __attribute__((visibility("default")));

#endif
