#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/falloc.h>

static struct {
    int fd;
    bool regular;
    uint64_t data_offset, end;
} file = {.fd = -1};

int file_set(int fd, uint64_t data_offset, uint64_t size) {
    struct stat status;
    if (fstat(fd, &status))
        return errno;
    file.fd = fd;
    file.regular = S_ISREG(status.st_mode);
    file.data_offset = data_offset;
    file.end = data_offset + size;
    return 0;
}

bool file_is_regular(void) { return file.regular; }

int file_read(uint8_t *buffer, size_t count, uint64_t offset) {
    off_t at = file.data_offset + offset;
    while (count) {
        ssize_t n = pread(file.fd, buffer, count, at);
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

int file_seek(int whence, uint64_t offset, uint64_t end, uint64_t *found) {
    struct stat status;
    off_t at = lseek(file.fd, file.data_offset + offset, whence);
    *found = end;
    if (at < 0 && errno != ENXIO)
        return errno;
    if (at < 0) { /* no data up to the end of the file: is it where it should be? */
        if (fstat(file.fd, &status))
            return errno;
        return (uint64_t)status.st_size < file.end ? EIO : 0;
    }
    if ((uint64_t)at - file.data_offset < end)
        *found = at - file.data_offset;
    return 0;
}

int file_prefetch(uint64_t offset, uint64_t count) {
    return posix_fadvise(file.fd, file.data_offset + offset, count, POSIX_FADV_WILLNEED);
}

int file_sync(void) {
    while (fdatasync(file.fd))
        if (errno != EINTR)
            return errno;
    return 0;
}
