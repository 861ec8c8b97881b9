/* Who has connected. */
#ifndef EVSD_PEER_H
#define EVSD_PEER_H

#include <stdint.h>

/* Process and user of the connection that is being opened; 0 and -1 where they can't be told. */
void process_peer(int64_t *pid, int64_t *uid);

#endif
