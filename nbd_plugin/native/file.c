#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/magic.h>

#define SLOW_WRITE_US 1000

static struct {
    int fd;
    bool regular;
    bool in_memory;                 /* the file is on tmpfs: nothing waits for a disk */
    bool nowait_read, nowait_write; /* until the filesystem says that it can't */
    unsigned slow_writes;           /* so many small writes to come are expected to wait */
    uint64_t data_offset, end;
} file = {.fd = -1};

int file_set(int fd, uint64_t data_offset, uint64_t size) {
    struct stat status;
    struct statfs fs;
    if (fstat(fd, &status) || fstatfs(fd, &fs))
        return errno;
    file.fd = fd;
    file.regular = S_ISREG(status.st_mode);
    /* A block device's own file is on devtmpfs, which has the magic of tmpfs. */
    file.in_memory = file.regular && fs.f_type == TMPFS_MAGIC;
    file.nowait_read = file.nowait_write = true;
    file.slow_writes = 0;
    file.data_offset = data_offset;
    file.end = data_offset + size;
    return 0;
}

bool file_is_regular(void) { return file.regular; }

/* --- Reading --------------------------------------------------------------------------------- */

static int pread_all(uint8_t *buffer, size_t count, off_t at) {
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

/* A short read without waiting is left to the blocking one, which tells an end of file from a page
 * that is not there yet. */
int file_read(uint8_t *buffer, size_t count, uint64_t offset, bool may_block) {
    off_t at = file.data_offset + offset;
    if (may_block || file.in_memory)
        return pread_all(buffer, count, at);
    if (!file.nowait_read)
        return EAGAIN;
    struct iovec piece = {buffer, count};
    ssize_t n = preadv2(file.fd, &piece, 1, at, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        file.nowait_read = false;
    return n == (ssize_t)count ? 0 : EAGAIN;
}

/* --- Writing --------------------------------------------------------------------------------- */

static int pwrite_all(const uint8_t *buffer, size_t count, off_t at) {
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

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Where RWF_NOWAIT is not supported for buffered writes (ext4) a small write usually just goes to
 * the page cache. After one that waited, for throttling or for a file server, the next ones are
 * expected to. Few, for one that was preempted looks the same. */
static int write_to_cache(const uint8_t *buffer, size_t count, off_t at) {
    if (file.slow_writes) {
        file.slow_writes--;
        return EAGAIN;
    }
    int64_t started = now_us();
    int err = pwrite_all(buffer, count, at);
    if (now_us() - started > SLOW_WRITE_US)
        file.slow_writes = 32;
    return err;
}

int file_write(const uint8_t *buffer, size_t count, uint64_t offset, bool may_block) {
    off_t at = file.data_offset + offset;
    if (may_block || file.in_memory)
        return pwrite_all(buffer, count, at);
    if (!file.nowait_write)
        return write_to_cache(buffer, count, at);
    struct iovec piece = {(void *)buffer, count};
    ssize_t n = pwritev2(file.fd, &piece, 1, at, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        file.nowait_write = false;
    /* A part was written: the rest follows before anybody can see half of a sector. */
    return n > 0 ? pwrite_all(buffer + n, count - n, at + n) : EAGAIN;
}

/* --- The rest -------------------------------------------------------------------------------- */

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
