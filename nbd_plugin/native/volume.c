#include "volume.h"

#include <errno.h>

#include "file.h"
#include "sector.h"
#include "stripes.h"

static struct {
    bool thin;
    uint64_t size;
} volume;

int volume_set(int fd, uint64_t data_offset, uint64_t size, bool thin) {
    if (size % SECTOR || size > INT64_MAX - data_offset)
        return EINVAL;
    int err = file_set(fd, data_offset, size);
    if (err)
        return err;
    stripes_init();
    volume.thin = thin;
    volume.size = size;
    return 0;
}

bool volume_is_thin(void) { return volume.thin; }

bool volume_has(uint64_t offset, uint64_t count) {
    return offset <= volume.size && count <= volume.size - offset;
}

int volume_prefetch(uint64_t offset, uint64_t count) {
    return volume_has(offset, count) ? file_prefetch(offset, count) : EINVAL;
}
