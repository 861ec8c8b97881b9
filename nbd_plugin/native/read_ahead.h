/* Requests in one piece: a `read` in the place of the C library's, where this library is preloaded.
 *
 * nbdkit receives the head of a request by a call, and the data of a write by another one. Here the
 * first takes what follows too, as much as the client has sent, and later ones get of that: for a
 * client that sends several requests at a time one call takes the place of many.
 *
 * It begins when a thread has answered its first request: before, TLS might still be agreed on, which
 * receives by another function.
 */
#ifndef EVSD_READ_AHEAD_H
#define EVSD_READ_AHEAD_H

#include <stddef.h>
#include <sys/types.h>

/* This thread answers requests, so heads of requests are what it reads from now on. */
void read_ahead_here(void);

__attribute__((visibility("default"))) ssize_t read(int fd, void *data, size_t count);

/* What was read ahead ends with its connection: the next one may have the same number. */
__attribute__((visibility("default"))) int close(int fd);

#endif
