#include "worker_pools.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>

enum { POOLS = 64, CACHE_LINE = 64 };

static struct pool {
    pthread_mutex_t lock;
    struct key_page *page; /* NULL: closed */
    struct worker *idle;
} __attribute__((aligned(CACHE_LINE))) pools[POOLS] = {
    [0 ... POOLS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

/* Of the processor that this runs on. Elsewhere a moment later, it is still a pool that works. */
static struct pool *lock_pool(void) {
    int processor = sched_getcpu();
    struct pool *pool = &pools[processor < 0 ? 0 : processor % POOLS];
    pthread_mutex_lock(&pool->lock);
    return pool;
}

static struct worker *change(struct pool *pool, struct key_page *page) {
    pthread_mutex_lock(&pool->lock);
    struct worker *idle = pool->idle;
    pool->page = page;
    pool->idle = NULL;
    pthread_mutex_unlock(&pool->lock);
    return idle;
}

void pools_open(struct key_page *page) {
    for (int i = 0; i < POOLS; i++)
        change(&pools[i], page);
}

void pools_close(void) {
    for (int i = 0; i < POOLS; i++) {
        struct worker *w = change(&pools[i], NULL);
        while (w) {
            struct worker *next = w->next;
            worker_free(w);
            w = next;
        }
    }
}

bool pools_are_open(void) {
    struct pool *pool = lock_pool();
    bool open = pool->page;
    pthread_mutex_unlock(&pool->lock);
    return open;
}

struct worker *pools_get(void) {
    struct pool *pool = lock_pool();
    struct worker *w = pool->idle;
    if (w)
        pool->idle = w->next;
    else if (pool->page)
        w = worker_new(pool->page);
    int err = pool->page ? ENOMEM : EPERM;
    pthread_mutex_unlock(&pool->lock);
    if (!w)
        errno = err;
    return w;
}

void pools_put(struct worker *w) {
    struct pool *pool = lock_pool();
    bool current = w->page == pool->page;
    if (current) {
        w->next = pool->idle;
        pool->idle = w;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!current)
        worker_free(w);
}
