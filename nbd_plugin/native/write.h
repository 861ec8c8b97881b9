/* Writing, a stripe at a time; what is less than a sector is read, completed and written again. */
#ifndef EVSD_WRITE_H
#define EVSD_WRITE_H

#include <stdint.h>

/* NULL data is zeros. */
int volume_write(const uint8_t *data, uint64_t count, uint64_t offset);

#endif
