#include "stripes.h"

#include <pthread.h>
#include <stdbool.h>

#include "sector.h"

#define STRIPES 512u /* a request of 32 MiB covers each of them once */

static pthread_rwlock_t stripes[STRIPES];

void stripes_init(void) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* glibc's default lets a stream of readers starve a writer. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&stripes[i], &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

static pthread_rwlock_t *stripe_of(uint64_t offset) { return &stripes[offset / CHUNK % STRIPES]; }

void stripe_share(uint64_t offset) { pthread_rwlock_rdlock(stripe_of(offset)); }

void stripe_take(uint64_t offset) { pthread_rwlock_wrlock(stripe_of(offset)); }

void stripe_leave(uint64_t offset) { pthread_rwlock_unlock(stripe_of(offset)); }

/* Whether stripe i is touched by [offset, offset + count); indices wrap round. */
static bool covers(uint64_t offset, uint64_t count, unsigned i) {
    uint64_t first = offset / CHUNK, touched = (offset + count - 1) / CHUNK - first + 1;
    return (i + STRIPES - first % STRIPES) % STRIPES < touched;
}

void stripes_take(uint64_t offset, uint64_t count) {
    for (unsigned i = 0; i < STRIPES; i++)
        if (covers(offset, count, i))
            pthread_rwlock_wrlock(&stripes[i]);
}

void stripes_leave(uint64_t offset, uint64_t count) {
    for (unsigned i = 0; i < STRIPES; i++)
        if (covers(offset, count, i))
            pthread_rwlock_unlock(&stripes[i]);
}

static _Thread_local unsigned held; /* how often this thread has all */

void stripes_take_all(void) {
    if (!held++)
        stripes_take(0, (uint64_t)STRIPES * CHUNK);
}

void stripes_leave_all(void) {
    if (!--held)
        stripes_leave(0, (uint64_t)STRIPES * CHUNK);
}
