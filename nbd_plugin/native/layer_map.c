#include "layer_map.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "sector.h"

enum { SECTORS = CHUNK / SECTOR, BITS = 64 / SECTORS, LEVELS = (1 << BITS) - 1 };

static struct {
    _Atomic uint64_t *stripes;
    uint64_t count;
} map;

static _Atomic uint64_t *stripe_at(uint64_t offset) {
    uint64_t number = offset / CHUNK;
    return number < map.count ? &map.stripes[number] : NULL;
}

static unsigned shift_of(uint64_t offset) { return offset % CHUNK / SECTOR * BITS; }

void layer_map_reset(void) {
    if (map.stripes)
        munmap((void *)map.stripes, map.count * sizeof *map.stripes);
    map.stripes = NULL;
    map.count = 0;
}

void layer_map_reserve(uint64_t size) {
    uint64_t count = (size + CHUNK - 1) / CHUNK, length = count * sizeof *map.stripes;
    if (count <= map.count)
        return;
    void *grown = map.stripes ? mremap((void *)map.stripes, map.count * sizeof *map.stripes,
                                       length, MREMAP_MAYMOVE)
                              : mmap(NULL, length, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (grown == MAP_FAILED)
        return;
    map.stripes = grown;
    map.count = count;
}

bool layer_map_knows(uint64_t offset) {
    _Atomic uint64_t *stripe = stripe_at(offset);
    return !stripe || atomic_load_explicit(stripe, memory_order_relaxed);
}

size_t layer_map_find(uint64_t offset, size_t count, unsigned *level) {
    _Atomic uint64_t *stripe = stripe_at(offset);
    *level = 0;
    if (!stripe)
        return count;
    uint64_t levels = atomic_load_explicit(stripe, memory_order_relaxed) >> shift_of(offset);
    *level = levels & LEVELS;
    size_t found = SECTOR;
    while (found < count && ((levels >>= BITS) & LEVELS) == *level)
        found += SECTOR;
    return found < count ? found : count;
}

/* Others may be noting other sectors of the stripe. */
static void set(uint64_t offset, unsigned level) {
    _Atomic uint64_t *stripe = stripe_at(offset);
    if (!stripe)
        return;
    uint64_t old = atomic_load_explicit(stripe, memory_order_relaxed), changed;
    do {
        changed = old & ~((uint64_t)LEVELS << shift_of(offset));
        changed |= (uint64_t)level << shift_of(offset);
    } while (changed != old && !atomic_compare_exchange_weak_explicit(
                                   stripe, &old, changed, memory_order_relaxed,
                                   memory_order_relaxed));
}

void layer_map_note(uint64_t offset, unsigned level) { set(offset, level); }

void layer_map_forget(uint64_t offset, size_t count) {
    for (size_t done = 0; done < count; done += SECTOR)
        set(offset + done, 0);
}
