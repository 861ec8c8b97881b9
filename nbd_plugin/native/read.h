/* Reading, a stripe at a time. */
#ifndef EVSD_READ_H
#define EVSD_READ_H

#include <stdint.h>

int volume_read(uint8_t *data, uint64_t count, uint64_t offset);

#endif
