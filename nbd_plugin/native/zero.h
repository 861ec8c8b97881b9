/* Zeroing and discarding: holes where a thin volume may have them. */
#ifndef EVSD_ZERO_H
#define EVSD_ZERO_H

#include <stdbool.h>
#include <stdint.h>

/* `fast` fails with EOPNOTSUPP, and changes nothing, where it would be as slow as writing. */
int volume_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast);

/* Discarding is a hint: partial sectors and filesystems that can't punch holes ignore it. */
int volume_trim(uint64_t offset, uint64_t count);

#endif
