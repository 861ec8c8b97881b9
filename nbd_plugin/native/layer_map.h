/* Where to begin looking for a sector: learned when its stripe is read first, so that the layers
 * above, which don't have it, are asked once.
 *
 * A level for each sector, 0 where nothing is known and the file that is written to comes first: a
 * sector that is written goes back to that. No layer above the level has the sector; whether the
 * level itself has it, its ciphertext says. So a switch leaves all of it true. The memory is eight
 * bytes for each 64 KiB that were read, and none for a volume without layers.
 */
#ifndef EVSD_LAYER_MAP_H
#define EVSD_LAYER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Forget all, and have room for so many bytes of a volume; what is beyond, or where there is no
 * memory, is never known. With every stripe taken, or before it serves. */
void layer_map_reset(void);
void layer_map_reserve(uint64_t size);

/* Whether anything is known of the stripe at `offset`. */
bool layer_map_knows(uint64_t offset);

/* How many bytes from `offset` on begin at the same `level`, at most `count` within a stripe. */
size_t layer_map_find(uint64_t offset, size_t count, unsigned *level);

/* The sector at `offset` begins there. The caller holds the stripe. */
void layer_map_note(uint64_t offset, unsigned level);

/* These sectors are being written. The caller has taken the stripe. */
void layer_map_forget(uint64_t offset, size_t count);

#endif
