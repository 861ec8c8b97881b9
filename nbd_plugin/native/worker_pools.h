/* Which workers are idle: a pool for each processor, so that requests share no lock. */
#ifndef EVSD_WORKER_POOLS_H
#define EVSD_WORKER_POOLS_H

#include <stdbool.h>

#include "worker.h"

/* From now on requests get workers for this page's key. */
void pools_open(struct key_page *page);

/* From now on they get none. Those in use are freed when they are put back. */
void pools_close(void);

bool pools_are_open(void);

/* A worker for one request, NULL with errno set where there is no key or no memory. */
struct worker *pools_get(void);
void pools_put(struct worker *w);

#endif
