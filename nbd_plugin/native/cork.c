#include "cork.h"

#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>

enum { ROOM = 64 }; /* the head of a read's reply takes 28 bytes, in two pieces */

/* What this thread was told to send with more to follow. nbdkit's threads send all of a reply
 * without letting others in between. */
static __thread struct {
    int fd;
    size_t length;
    char bytes[ROOM];
} waiting;

static ssize_t send_with_waiting(int fd, const void *data, size_t length, int flags) {
    struct iovec pieces[] = {{waiting.bytes, waiting.length}, {(void *)data, length}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    return sendmsg(fd, &message, flags);
}

/* As much as the socket takes; what waits is sent before anything of `data` counts as sent. */
static ssize_t send_now(int fd, const void *data, size_t length, int flags) {
    for (;;) {
        ssize_t sent = send_with_waiting(fd, data, length, flags);
        if (sent < 0)
            return sent;
        size_t of_waiting = (size_t)sent < waiting.length ? (size_t)sent : waiting.length;
        waiting.length -= of_waiting;
        memmove(waiting.bytes, waiting.bytes + of_waiting, waiting.length);
        if ((size_t)sent > of_waiting || !length)
            return sent - of_waiting;
    }
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    if (fd != waiting.fd)
        waiting.length = 0; /* of a connection that failed before all was sent */
    waiting.fd = fd;
    if (!(flags & MSG_MORE) || waiting.length + length > ROOM)
        return send_now(fd, data, length, flags);
    memcpy(waiting.bytes + waiting.length, data, length);
    waiting.length += length;
    return length;
}
