/* What is counted in: the units of encryption, and of what is done at a time. */
#ifndef EVSD_SECTOR_H
#define EVSD_SECTOR_H

#include <stddef.h>
#include <stdint.h>

#define SECTOR 4096u
#define UNIT 512u /* the smallest part of a sector that is encrypted by itself */
#define CHUNK 65536u /* the most that is handled at a time; 64 KiB stay in the L2 cache */

static inline uint64_t sector_floor(uint64_t offset) { return offset & ~(uint64_t)(SECTOR - 1); }
static inline uint64_t sector_ceiling(uint64_t offset) { return sector_floor(offset + SECTOR - 1); }

/* How much of [offset, offset + count) is in its first chunk. */
static inline size_t chunk_at(uint64_t offset, uint64_t count) {
    uint64_t rest = CHUNK - offset % CHUNK;
    return count < rest ? count : rest;
}

#endif
