#include "peer.h"

/* nbdkit_peer_pid(3): nbdkit 1.32 hands it to plugins in C only; there is none outside nbdkit. */
int64_t nbdkit_peer_pid(void) __attribute__((weak));
int64_t nbdkit_peer_uid(void) __attribute__((weak));

void process_peer(int64_t *pid, int64_t *uid) {
    *pid = nbdkit_peer_pid ? nbdkit_peer_pid() : 0;
    *uid = nbdkit_peer_uid ? nbdkit_peer_uid() : -1;
}
