/* The volume's file or block device: ciphertext, and where there is none, at the volume's offsets.
 *
 * There is one that is written to, which the functions without a `struct file` are about. Every
 * function returns 0 or an errno.
 */
#ifndef EVSD_FILE_H
#define EVSD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file {
    int fd;
    bool regular;     /* a file and no block device */
    bool tells_holes; /* its SEEK_HOLE is known to be right */
    bool seeks_fast;  /* and that costs less than to read the hole: tmpfs looks at each page */
    uint8_t key;      /* of a layer: whose its ciphertext is, 0 the volume's, see `recrypt.h` */
    uint64_t data_offset, end;
};

/* `size` bytes from `data_offset` on of an open file. */
int file_describe(struct file *described, int fd, uint64_t data_offset, uint64_t size);

/* The next offset of data (SEEK_DATA) or of a hole (SEEK_HOLE), not beyond `end`. */
int file_seek_of(const struct file *in, int whence, uint64_t offset, uint64_t end,
                 uint64_t *found);

/* As the functions below, of any. */
int file_read_of(const struct file *from, uint8_t *buffer, size_t count, uint64_t offset);
int file_prefetch_of(const struct file *from, uint64_t offset, uint64_t count);
int file_sync_of(const struct file *written);

/* From now on this one is written to. */
void file_set(const struct file *top);
struct file file_get(void);

/* The same one, with `size` bytes. */
void file_grow(uint64_t size);

/* Whether it is a file, not a block device. */
bool file_is_regular(void);

int file_read(uint8_t *buffer, size_t count, uint64_t offset);
int file_write(const uint8_t *buffer, size_t count, uint64_t offset);

/* fallocate(2) that keeps the file's length. */
int file_allocate(int mode, uint64_t offset, uint64_t count);

int file_prefetch(uint64_t offset, uint64_t count);

#endif
