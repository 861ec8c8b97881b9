#include "data_path.h"

#include <errno.h>

#include "extents.h"
#include "flush.h"
#include "front.h"
#include "read.h"
#include "volume.h"
#include "write.h"
#include "zero.h"

/* The front's, where there is one. */
void evsd_front_take(const struct data_path *path) __attribute__((weak));

const char *data_path_remedy(int error) {
    bool full = error == ENOSPC || error == EDQUOT;
    return full ? ": the pool is full: free space first, before any detach --force" : "";
}

bool data_path_hand_over(void) {
    static const struct data_path path = {
        .read = volume_read,
        .write = volume_write,
        .zero = volume_zero,
        .trim = volume_trim,
        .flush = volume_flush,
        .prefetch = volume_prefetch,
        .extents = volume_extents,
        .remedy = data_path_remedy,
    };
    if (!evsd_front_take)
        return false;
    evsd_front_take(&path);
    return true;
}
