/* Sectors that a volume does not have: zeros in the file, and zeros for whoever reads them. */
#ifndef EVSD_HOLES_H
#define EVSD_HOLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sector.h"
#include "worker.h"

extern uint8_t zeros[CHUNK]; /* and stay so */

/* At least 8 bytes. */
bool is_zero(const uint8_t *data, size_t count);

/* Decrypt whole sectors in place. Those that are holes stay as they are. 0 or an errno. */
int holes_decrypt(struct worker *w, uint8_t *data, size_t count, uint64_t offset);

#endif
