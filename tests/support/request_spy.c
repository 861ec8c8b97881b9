/* To be loaded into a server before libpython: counts how often anybody asks for the GIL, and tells
 * on which processors each lock of ours is taken, while the test says so in shared memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LOCKS = 4096 };

/* As tests/support/request_spy.py reads it. */
static struct seen {
    _Atomic uint32_t watching;
    _Atomic uint32_t gil;
    struct lock {
        _Atomic(void *) address;
        _Atomic uint64_t processors; /* a bit each */
    } locks[LOCKS];
} *seen;

__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("REQUEST_SPY"), O_RDWR | O_CLOEXEC);
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (seen == MAP_FAILED)
        abort();
}

static void *next_of(const char *name) { return dlsym(RTLD_NEXT, name); }

#define NEXT(result, name, ...)                                                                    \
    static result (*next)(__VA_ARGS__);                                                            \
    if (!next)                                                                                     \
        *(void **)&next = next_of(name)

static bool watching(void) { return seen && seen->watching; }

/* Not nbdkit's: it has one that all requests share, and only who ends it takes alone. */
static bool is_ours(void *caller) {
    Dl_info library;
    return dladdr(caller, &library) && strstr(library.dli_fname, "/nbd_plugin/");
}

static void saw_lock(void *address, void *caller) {
    if (!watching() || !is_ours(caller))
        return;
    for (unsigned i = (uintptr_t)address / 8 % LOCKS;; i = (i + 1) % LOCKS) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&seen->locks[i].address, &none, address) ||
            none == address) {
            seen->locks[i].processors |= 1ULL << (sched_getcpu() & 63);
            return;
        }
    }
}

/* What libpython and the plugin get the GIL by. */

int PyGILState_Ensure(void) {
    NEXT(int, "PyGILState_Ensure", void);
    if (watching())
        seen->gil++;
    return next();
}

void PyEval_RestoreThread(void *state) {
    NEXT(void, "PyEval_RestoreThread", void *);
    if (watching())
        seen->gil++;
    next(state);
}

int pthread_mutex_lock(pthread_mutex_t *lock) {
    NEXT(int, "pthread_mutex_lock", pthread_mutex_t *);
    saw_lock(lock, __builtin_return_address(0));
    return next(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
    NEXT(int, "pthread_rwlock_rdlock", pthread_rwlock_t *);
    saw_lock(lock, __builtin_return_address(0));
    return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
    NEXT(int, "pthread_rwlock_wrlock", pthread_rwlock_t *);
    saw_lock(lock, __builtin_return_address(0));
    return next(lock);
}
