/* The volume's file or block device: ciphertext, and where there is none, at the volume's offsets.
 *
 * Every function returns 0 or an errno.
 */
#ifndef EVSD_FILE_H
#define EVSD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on this one, with `size` bytes from `data_offset` on. */
int file_set(int fd, uint64_t data_offset, uint64_t size);

/* Whether it is a file, not a block device. */
bool file_is_regular(void);

int file_read(uint8_t *buffer, size_t count, uint64_t offset);
int file_write(const uint8_t *buffer, size_t count, uint64_t offset);

/* fallocate(2) that keeps the file's length. */
int file_allocate(int mode, uint64_t offset, uint64_t count);

/* The next offset of data (SEEK_DATA) or of a hole (SEEK_HOLE), not beyond `end`. */
int file_seek(int whence, uint64_t offset, uint64_t end, uint64_t *found);

int file_prefetch(uint64_t offset, uint64_t count);
int file_sync(void);

#endif
