#include "read_ahead.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD = 28 /* of a request */, AHEAD = 16384, CONNECTIONS = 1024 };

struct ahead {
    size_t start, length;
    char bytes[AHEAD];
};

/* By descriptor. nbdkit has a lock for each connection, so that one thread at a time reads of it. */
static struct ahead *_Atomic connections[CONNECTIONS];

static __thread bool answers_requests;

void read_ahead_here(void) { answers_requests = true; }

static struct ahead *ahead_of(int fd) {
    return fd >= 0 && fd < CONNECTIONS ? connections[fd] : NULL;
}

/* Where to read ahead of a connection, or NULL: it is none, or there is no memory. */
static struct ahead *begin(int fd) {
    if (!answers_requests || fd < 0 || fd >= CONNECTIONS)
        return NULL;
    if (!connections[fd])
        connections[fd] = calloc(1, sizeof(struct ahead));
    return connections[fd];
}

static ssize_t take(struct ahead *ahead, void *data, size_t count) {
    size_t taken = count < ahead->length ? count : ahead->length;
    memcpy(data, ahead->bytes + ahead->start, taken);
    ahead->start += taken;
    ahead->length -= taken;
    return taken;
}

static ssize_t read_more(int fd, struct ahead *ahead, void *data, size_t count) {
    struct iovec pieces[] = {{data, count}, {ahead->bytes, AHEAD}};
    ssize_t got = readv(fd, pieces, 2);
    if (got <= (ssize_t)count)
        return got;
    ahead->start = 0;
    ahead->length = got - count;
    return count;
}

ssize_t read(int fd, void *data, size_t count) {
    struct ahead *ahead = ahead_of(fd);
    if (ahead && ahead->length)
        return take(ahead, data, count);
    if (count == HEAD && (ahead = begin(fd)))
        return read_more(fd, ahead, data, count);
    return syscall(SYS_read, fd, data, count);
}

int close(int fd) {
    struct ahead *ahead = ahead_of(fd);
    if (ahead) {
        connections[fd] = NULL;
        explicit_bzero(ahead, sizeof *ahead); /* what a client has written */
        free(ahead);
    }
    return syscall(SYS_close, fd);
}
