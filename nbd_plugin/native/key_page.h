/* The pages that hold all that is secret: locked, not dumped, not inherited, and overwritten before
 * they are given back. */
#ifndef EVSD_KEY_PAGE_H
#define EVSD_KEY_PAGE_H

#include <stdint.h>

#include "xts.h"

#define DEK_LENGTH 64

struct key_page {
    struct xts_keys schedules; /* where `xts.h` encrypts */
    uint8_t dek[DEK_LENGTH];
    _Atomic unsigned users; /* `key.c`, and each worker; or the page above */
    struct key_page *lower; /* of the layers below that have another key, or NULL */
};

/* With one user. 0 or an errno. */
int key_page_new(struct key_page **page);

/* One user more, or less; after the last there is no page, and one less of the page below. */
void key_page_join(struct key_page *page);
void key_page_leave(struct key_page *page);

#endif
