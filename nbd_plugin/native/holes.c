#include "holes.h"

#include <string.h>

#include "volume.h"

uint8_t zeros[CHUNK];

bool is_zero(const uint8_t *data, size_t count) {
    uint64_t first;
    memcpy(&first, data, sizeof first);
    return first == 0 && memcmp(data, data + 8, count - 8) == 0;
}

static bool is_hole(const uint8_t *sector) { return is_zero(sector, SECTOR); }

int holes_decrypt(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    if (!volume_has_holes())
        return worker_decrypt(w, data, count, offset);
    int err = 0;
    for (size_t done = 0, start; !err && done < count;) {
        if (is_hole(data + done)) {
            done += SECTOR;
            continue;
        }
        for (start = done; done < count && !is_hole(data + done);)
            done += SECTOR;
        err = worker_decrypt(w, data + start, done - start, offset + start);
    }
    return err;
}
