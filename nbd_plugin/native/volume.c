#include "volume.h"

#include <errno.h>
#include <stdatomic.h>

#include "file.h"
#include "layers.h"
#include "sector.h"
#include "stripes.h"

static struct {
    bool thin, has_holes;
    _Atomic uint64_t size;
} volume;

int volume_set(int fd, uint64_t data_offset, uint64_t size, bool thin, bool is_layer) {
    if (size % SECTOR || size > INT64_MAX - data_offset)
        return EINVAL;
    struct file top;
    int err = file_describe(&top, fd, data_offset, size);
    if (err)
        return err;
    file_set(&top);
    layers_none();
    stripes_init();
    volume.thin = thin;
    volume.has_holes = thin || is_layer;
    volume.size = size;
    return 0;
}

void volume_grow(uint64_t size) {
    file_grow(size);
    volume.size = size;
}

bool volume_is_thin(void) { return volume.thin; }

bool volume_has_holes(void) { return volume.has_holes || layers_below(); }

bool volume_has(uint64_t offset, uint64_t count) {
    uint64_t size = atomic_load_explicit(&volume.size, memory_order_relaxed);
    return offset <= size && count <= size - offset;
}

int volume_prefetch(uint64_t offset, uint64_t count) {
    return volume_has(offset, count) ? layers_prefetch(offset, count) : EINVAL;
}
