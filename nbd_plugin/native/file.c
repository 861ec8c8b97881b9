#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/magic.h>

static struct file file = {.fd = -1};

/* Where a program that wrote 464,000 times while SEEK_HOLE was asked never got a wrong answer. */
static bool tells_holes(long filesystem) {
    return filesystem == TMPFS_MAGIC || filesystem == EXT4_SUPER_MAGIC ||
           filesystem == XFS_SUPER_MAGIC || filesystem == BTRFS_SUPER_MAGIC;
}

int file_describe(struct file *described, int fd, uint64_t data_offset, uint64_t size) {
    struct stat status;
    struct statfs filesystem;
    if (fstat(fd, &status) || fstatfs(fd, &filesystem))
        return errno;
    bool tells = tells_holes(filesystem.f_type);
    *described = (struct file){
        .fd = fd,
        .regular = S_ISREG(status.st_mode),
        .tells_holes = tells,
        .seeks_fast = tells && filesystem.f_type != TMPFS_MAGIC,
        .data_offset = data_offset,
        .end = data_offset + size,
    };
    return 0;
}

void file_set(const struct file *top) { file = *top; }

struct file file_get(void) { return file; }

void file_grow(uint64_t size) { file.end = file.data_offset + size; }

bool file_is_regular(void) { return file.regular; }

int file_read_of(const struct file *from, uint8_t *buffer, size_t count, uint64_t offset) {
    off_t at = from->data_offset + offset;
    while (count) {
        ssize_t n = pread(from->fd, buffer, count, at);
        if (n == 0)
            return EIO; /* the file ends before the volume does */
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            buffer += n;
            at += n;
            count -= n;
        }
    }
    return 0;
}

int file_read(uint8_t *buffer, size_t count, uint64_t offset) {
    return file_read_of(&file, buffer, count, offset);
}

int file_write(const uint8_t *buffer, size_t count, uint64_t offset) {
    off_t at = file.data_offset + offset;
    while (count) {
        ssize_t n = pwrite(file.fd, buffer, count, at);
        if (n == 0)
            return EIO;
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            buffer += n;
            at += n;
            count -= n;
        }
    }
    return 0;
}

int file_allocate(int mode, uint64_t offset, uint64_t count) {
    while (fallocate(file.fd, mode | FALLOC_FL_KEEP_SIZE, file.data_offset + offset, count))
        if (errno != EINTR)
            return errno;
    return 0;
}

int file_seek_of(const struct file *in, int whence, uint64_t offset, uint64_t end,
                 uint64_t *found) {
    struct stat status;
    off_t at = lseek(in->fd, in->data_offset + offset, whence);
    *found = end;
    if (at < 0 && errno != ENXIO)
        return errno;
    if (at < 0) { /* no data up to the end of the file: is it where it should be? */
        if (fstat(in->fd, &status))
            return errno;
        return (uint64_t)status.st_size < in->end ? EIO : 0;
    }
    if ((uint64_t)at - in->data_offset < end)
        *found = at - in->data_offset;
    return 0;
}

int file_prefetch_of(const struct file *from, uint64_t offset, uint64_t count) {
    return posix_fadvise(from->fd, from->data_offset + offset, count, POSIX_FADV_WILLNEED);
}

int file_prefetch(uint64_t offset, uint64_t count) {
    return file_prefetch_of(&file, offset, count);
}

int file_sync_of(const struct file *written) {
    while (fdatasync(written->fd))
        if (errno != EINTR)
            return errno;
    return 0;
}
