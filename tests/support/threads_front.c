/* A front that makes requests by itself, as the threads of an nbdkit's connection do: without
 * Python, whose lock would order them. For the thread sanitizer, which nbdkit does not start under.
 */
#include "front.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { THREADS = 4, REQUESTS = 40, LONGEST = 200 * 1024, EXTENTS = 8 };

static const struct data_path *path;

void evsd_front_take(const struct data_path *taken) { path = taken; }

struct connection {
    unsigned seed;
    uint64_t size;
    _Atomic int error;
};

static int request(unsigned *seed, uint64_t size, uint8_t *data) {
    struct extent extents[EXTENTS];
    size_t filled;
    uint64_t count = rand_r(seed) % LONGEST + 1, offset = rand_r(seed) % (size - count);
    switch (rand_r(seed) % 7) {
    case 0:
        return path->write(data, count, offset);
    case 1:
        return path->zero(offset, count, rand_r(seed) % 2, false);
    case 2:
        return path->trim(offset, count);
    case 3:
        return path->flush();
    case 4:
        return path->prefetch(offset, count);
    case 5:
        return path->extents(offset, count, extents, EXTENTS, &filled);
    default:
        return path->read(data, count, offset);
    }
}

static void *work(void *argument) {
    struct connection *connection = argument;
    unsigned seed = connection->seed + (unsigned)(uintptr_t)pthread_self();
    uint8_t *data = calloc(1, LONGEST);
    for (int i = 0; i < REQUESTS && !connection->error; i++) {
        int error = request(&seed, connection->size, data);
        if (error)
            connection->error = error;
    }
    free(data);
    return NULL;
}

/* What happens between the open and the close of a connection to a volume of so many bytes: nbdkit
 * joins its threads before it closes. 0 or the errno of a request. */
__attribute__((visibility("default"))) int serve(unsigned seed, uint64_t size) {
    struct connection connection = {.seed = seed, .size = size};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &connection))
            abort();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return connection.error;
}
