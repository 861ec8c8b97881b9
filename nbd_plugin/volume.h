/* The volume's sectors: reading, writing, zeroing and discarding at any byte offset.
 *
 * The unit of encryption is the 4096-byte sector, the unit of locking the 64 KiB stripe: readers
 * share it, writers have it alone. So the read-modify-write of a partial sector never loses the
 * update of a neighbour, and nobody reads a sector of a thin volume while it changes from a hole
 * to ciphertext (half of each would decrypt to noise). Requests are cut at stripes' borders and
 * hold one stripe at a time; only zeroing and discarding hold several, in ascending order.
 *
 * Every function returns 0 or an errno. With `may_block` false it returns EAGAIN where it would
 * have to wait for a lock or a disk; the request is then repeated from its start.
 */
#ifndef EVSD_VOLUME_H
#define EVSD_VOLUME_H

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>

#include <linux/falloc.h>
#include <linux/magic.h>

#include "key.h"

#define SLOW_WRITE_US 1000
#define STRIPES 512u /* a request of 32 MiB covers each of them once */

static struct {
    int fd;
    bool thin, regular;
    bool in_memory;                 /* the file is on tmpfs: nothing waits for a disk */
    bool nowait_read, nowait_write; /* until the filesystem says that it can't */
    unsigned slow_writes;           /* so many small writes to come are expected to wait */
    uint64_t data_offset, size;
    pthread_rwlock_t stripes[STRIPES];
} volume = {.fd = -1};

/* Flushing: one fdatasync at a time, for all who asked before it began. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t asked, covered;
    bool running;
    int error;
} syncing = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

struct extent {
    uint64_t offset, length;
    bool hole;
};

static uint8_t zeros[CHUNK];

static uint64_t sector_floor(uint64_t offset) { return offset & ~(uint64_t)(SECTOR - 1); }
static uint64_t sector_ceiling(uint64_t offset) { return sector_floor(offset + SECTOR - 1); }

static int volume_set(int fd, uint64_t data_offset, uint64_t size, bool thin) {
    struct stat status;
    struct statfs fs;
    if (fstat(fd, &status) || fstatfs(fd, &fs))
        return errno;
    if (size % SECTOR || size > INT64_MAX - data_offset)
        return EINVAL;
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* glibc's default lets a stream of readers starve a writer. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&volume.stripes[i], &attributes);
    pthread_rwlockattr_destroy(&attributes);
    volume.fd = fd;
    volume.thin = thin;
    volume.regular = S_ISREG(status.st_mode);
    /* A block device's own file is on devtmpfs, which has the magic of tmpfs. */
    volume.in_memory = volume.regular && fs.f_type == TMPFS_MAGIC;
    volume.nowait_read = volume.nowait_write = true;
    volume.slow_writes = 0;
    volume.data_offset = data_offset;
    volume.size = size;
    return 0;
}

static bool in_bounds(uint64_t offset, uint64_t count) {
    return offset <= volume.size && count <= volume.size - offset;
}

/* --- Locks ----------------------------------------------------------------------------------- */

static pthread_rwlock_t *stripe_of(uint64_t offset) {
    return &volume.stripes[offset / CHUNK % STRIPES];
}

static int lock_shared(pthread_rwlock_t *stripe, bool may_block) {
    if (may_block)
        return pthread_rwlock_rdlock(stripe);
    return pthread_rwlock_tryrdlock(stripe) ? EAGAIN : 0;
}

static int lock_alone(pthread_rwlock_t *stripe, bool may_block) {
    if (may_block)
        return pthread_rwlock_wrlock(stripe);
    return pthread_rwlock_trywrlock(stripe) ? EAGAIN : 0;
}

/* Whether stripe i is touched by [offset, offset + count); indices wrap round. */
static bool covers(uint64_t offset, uint64_t count, unsigned i) {
    uint64_t first = offset / CHUNK, stripes = (offset + count - 1) / CHUNK - first + 1;
    return (i + STRIPES - first % STRIPES) % STRIPES < stripes;
}

static void lock_range(uint64_t offset, uint64_t count) {
    for (unsigned i = 0; i < STRIPES; i++)
        if (covers(offset, count, i))
            pthread_rwlock_wrlock(&volume.stripes[i]);
}

static void unlock_range(uint64_t offset, uint64_t count) {
    for (unsigned i = 0; i < STRIPES; i++)
        if (covers(offset, count, i))
            pthread_rwlock_unlock(&volume.stripes[i]);
}

/* --- The file -------------------------------------------------------------------------------- */

static int pread_all(uint8_t *buffer, size_t count, off_t at) {
    while (count) {
        ssize_t n = pread(volume.fd, buffer, count, at);
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

static int pwrite_all(const uint8_t *buffer, size_t count, off_t at) {
    while (count) {
        ssize_t n = pwrite(volume.fd, buffer, count, at);
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

/* Ciphertext from the volume's `offset`; a short read without waiting is left to the blocking one,
 * which tells an end of file from a page that is not there yet. */
static int fetch(uint8_t *buffer, size_t count, uint64_t offset, bool may_block) {
    off_t at = volume.data_offset + offset;
    if (may_block || volume.in_memory)
        return pread_all(buffer, count, at);
    if (!volume.nowait_read)
        return EAGAIN;
    struct iovec piece = {buffer, count};
    ssize_t n = preadv2(volume.fd, &piece, 1, at, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        volume.nowait_read = false;
    return n == (ssize_t)count ? 0 : EAGAIN;
}

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Where RWF_NOWAIT is not supported for buffered writes (ext4) a small write usually just goes to
 * the page cache. After one that waited, for throttling or for a file server, the next ones are
 * expected to. Few, for one that was preempted looks the same. */
static int store_in_cache(const uint8_t *buffer, size_t count, off_t at) {
    if (volume.slow_writes) {
        volume.slow_writes--;
        return EAGAIN;
    }
    int64_t started = now_us();
    int err = pwrite_all(buffer, count, at);
    if (now_us() - started > SLOW_WRITE_US)
        volume.slow_writes = 32;
    return err;
}

static int store(const uint8_t *buffer, size_t count, uint64_t offset, bool may_block) {
    off_t at = volume.data_offset + offset;
    if (may_block || volume.in_memory)
        return pwrite_all(buffer, count, at);
    if (!volume.nowait_write)
        return store_in_cache(buffer, count, at);
    struct iovec piece = {(void *)buffer, count};
    ssize_t n = pwritev2(volume.fd, &piece, 1, at, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        volume.nowait_write = false;
    /* A part was written: the rest follows before anybody can see half of a sector. */
    return n > 0 ? pwrite_all(buffer + n, count - n, at + n) : EAGAIN;
}

static int fdatasync_once(void) {
    while (fdatasync(volume.fd))
        if (errno != EINTR)
            return errno;
    return 0;
}

/* Wait until everything written so far is on disk. A failure is for good: the kernel gives up the
 * pages it could not write and reports that once, to one of several connections that flush. */
static int volume_sync(void) {
    pthread_mutex_lock(&syncing.lock);
    uint64_t mine = ++syncing.asked;
    while (syncing.covered < mine) {
        if (syncing.running) {
            pthread_cond_wait(&syncing.done, &syncing.lock);
            continue;
        }
        uint64_t covers = syncing.asked;
        syncing.running = true;
        pthread_mutex_unlock(&syncing.lock);
        int err = fdatasync_once();
        pthread_mutex_lock(&syncing.lock);
        if (err)
            syncing.error = err;
        syncing.running = false;
        syncing.covered = covers;
        pthread_cond_broadcast(&syncing.done);
    }
    int err = syncing.error;
    pthread_mutex_unlock(&syncing.lock);
    return err;
}

/* --- Sectors --------------------------------------------------------------------------------- */

/* Whole sectors by libcrypto; plain64 counts in 512-byte units, as dm-crypt does. */
static int evp_sectors(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t count,
                       uint64_t offset) {
    for (size_t done = 0; done < count; done += SECTOR) {
        int length;
        uint64_t tweak[2] = {htole64((offset + done) / 512), 0};
        if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, (const uint8_t *)tweak, -1) != 1 ||
            EVP_CipherUpdate(ctx, out + done, &length, in + done, SECTOR) != 1)
            return EIO;
    }
    return 0;
}

/* At most CHUNK bytes. */
static int encrypt_sectors(struct worker *w, uint8_t *out, const uint8_t *in, size_t count,
                           uint64_t offset) {
#ifdef HAVE_XTS
    if (!w->encrypt) {
        xts_crypt(&w->page->schedules, lanes_used(), true, out, in, count,
                  sector_floor(offset) / 512, offset % SECTOR);
        return 0;
    }
#endif
    return evp_sectors(w->encrypt, out, in, count, offset);
}

static int decrypt_sectors(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
#ifdef HAVE_XTS
    if (!w->decrypt) {
        xts_crypt(&w->page->schedules, lanes_used(), false, data, data, count, offset / 512, 0);
        return 0;
    }
#endif
    return evp_sectors(w->decrypt, data, data, count, offset);
}

/* `count` bytes from `at` on of a sector under any key, by the width `by` of `xts.h` or, for 0,
 * by libcrypto, which takes whole sectors; 0 or an errno, EINVAL where it can't be had. */
static int sector_crypt(const uint8_t *dek, uint64_t unit, const uint8_t *data, uint8_t *out,
                        size_t count, unsigned at, bool encrypt, int by) {
    if (!by) {
        EVP_CIPHER_CTX *ctx = xts_context(dek, encrypt);
        int err = ctx ? evp_sectors(ctx, out, data, count, unit * 512) : ENOMEM;
        EVP_CIPHER_CTX_free(ctx);
        return err;
    }
#ifdef HAVE_XTS
    if (xts_supported(by)) {
        struct xts_keys keys;
        xts_set_key(&keys, dek);
        xts_crypt(&keys, by, encrypt, out, data, count, unit, at);
        OPENSSL_cleanse(&keys, sizeof keys);
        return 0;
    }
#endif
    return EINVAL;
}

static bool is_zero(const uint8_t *data, size_t count) {
    uint64_t first;
    memcpy(&first, data, sizeof first);
    return first == 0 && memcmp(data, data + 8, count - 8) == 0;
}

static bool is_hole(const uint8_t *sector) { return is_zero(sector, SECTOR); }

/* Decrypt in place. A sector of zeros is a hole of a thin volume and stays as it is. */
static int decrypt(struct worker *w, uint8_t *data, size_t count, uint64_t offset) {
    if (!volume.thin)
        return decrypt_sectors(w, data, count, offset);
    int err = 0;
    for (size_t done = 0, start; !err && done < count;) {
        if (is_hole(data + done)) {
            done += SECTOR;
            continue;
        }
        for (start = done; done < count && !is_hole(data + done);)
            done += SECTOR;
        err = decrypt_sectors(w, data + start, done - start, offset + start);
    }
    return err;
}

static int read_sectors(struct worker *w, uint8_t *data, size_t count, uint64_t offset,
                        bool may_block) {
    pthread_rwlock_t *stripe = stripe_of(offset);
    int err = lock_shared(stripe, may_block);
    if (err)
        return err;
    err = fetch(data, count, offset, may_block);
    pthread_rwlock_unlock(stripe);
    return err ? err : decrypt(w, data, count, offset);
}

/* Put `count` bytes at `from` of the sector at `offset` into `slot`, encrypted with the rest of
 * that sector. The caller has the stripe alone. A NULL source is zeros. */
static int merge_sector(struct worker *w, uint8_t *slot, uint64_t offset, const uint8_t *source,
                        size_t from, size_t count, bool may_block) {
    int err = fetch(slot, SECTOR, offset, may_block);
    if (!err)
        err = decrypt(w, slot, SECTOR, offset);
    if (err)
        return err;
    memcpy(slot + from, source ? source : zeros, count);
    return encrypt_sectors(w, slot, slot, SECTOR, offset);
}

/* --- Requests, one stripe at a time ---------------------------------------------------------- */

static int read_chunk(struct worker *w, uint8_t *data, size_t count, uint64_t offset,
                      bool may_block) {
    uint64_t first = sector_floor(offset), end = sector_ceiling(offset + count);
    if (end - first == count)
        return read_sectors(w, data, count, offset, may_block);
    int err = read_sectors(w, w->buffer, end - first, first, may_block);
    if (!err)
        memcpy(data, w->buffer + (offset - first), count);
    return err;
}

/* Read the partial sectors at the ends of [offset, end) and complete them. */
static int merge_ends(struct worker *w, const uint8_t *data, uint64_t offset, uint64_t end,
                      bool may_block) {
    uint64_t first = sector_floor(offset), last = sector_floor(end);
    int err = 0;
    if (offset != first) {
        uint64_t stop = end < first + SECTOR ? end : first + SECTOR;
        err = merge_sector(w, w->buffer, first, data, offset - first, stop - offset, may_block);
    }
    if (!err && end != last && (offset == first || last != first))
        err = merge_sector(w, w->buffer + (last - first), last, data ? data + (last - offset) : NULL,
                           0, end - last, may_block);
    return err;
}

/* Whether it is a part of one sector that can be encrypted by itself: in XTS each block of 16 bytes
 * depends on its place and the key alone. libcrypto always starts at the sector's first block. */
static bool is_part(const struct worker *w, uint64_t offset, size_t count) {
    return !w->encrypt && offset % UNIT == 0 && count % UNIT == 0 &&
           sector_floor(offset) == sector_floor(offset + count - 1) && count < SECTOR;
}

/* Overwrite a part of a sector. `*done` is false, and nothing was written, where that part has no
 * ciphertext: the sector may be a hole. */
static int write_part(struct worker *w, const uint8_t *data, size_t count, uint64_t offset,
                      bool may_block, bool *done) {
    /* Where it must not wait the look also tells that the page is in memory: with a part of it to
     * be written, the kernel would have to read the rest. */
    int err = volume.thin || !may_block ? fetch(w->buffer, count, offset, may_block) : 0;
    *done = !err && !(volume.thin && is_zero(w->buffer, count));
    if (!*done)
        return err;
    err = encrypt_sectors(w, w->buffer, data ? data : zeros, count, offset);
    return err ? err : store(w->buffer, count, offset, may_block);
}

static int write_chunk(struct worker *w, const uint8_t *data, size_t count, uint64_t offset,
                       bool may_block) {
    uint64_t end = offset + count, first = sector_floor(offset);
    uint64_t whole = sector_ceiling(offset), whole_end = sector_floor(end);
    int err = 0;
    if (whole < whole_end)
        err = encrypt_sectors(w, w->buffer + (whole - first),
                              data ? data + (whole - offset) : zeros, whole_end - whole, whole);
    pthread_rwlock_t *stripe = stripe_of(offset);
    if (err || (err = lock_alone(stripe, may_block)))
        return err;
    bool done = false;
    if (is_part(w, offset, count))
        err = write_part(w, data, count, offset, may_block, &done);
    if (!err && !done)
        err = merge_ends(w, data, offset, end, may_block);
    if (!err && !done)
        err = store(w->buffer, sector_ceiling(end) - first, first, may_block);
    pthread_rwlock_unlock(stripe);
    return err;
}

static size_t chunk_at(uint64_t offset, uint64_t count) {
    uint64_t rest = CHUNK - offset % CHUNK;
    return count < rest ? count : rest;
}

static int volume_read(uint8_t *data, uint64_t count, uint64_t offset, bool may_block) {
    if (!in_bounds(offset, count))
        return EINVAL;
    struct worker *w = worker_get();
    if (!w)
        return errno;
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        err = read_chunk(w, data, n, offset, may_block);
        data += n;
        offset += n;
        count -= n;
    }
    worker_put(w);
    return err;
}

/* NULL data is zeros. */
static int volume_write(const uint8_t *data, uint64_t count, uint64_t offset, bool may_block) {
    if (!in_bounds(offset, count))
        return EINVAL;
    struct worker *w = worker_get();
    if (!w)
        return errno;
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        err = write_chunk(w, data, n, offset, may_block);
        data = data ? data + n : NULL;
        offset += n;
        count -= n;
    }
    worker_put(w);
    return err;
}

/* --- Zeroing and discarding ------------------------------------------------------------------ */

static int allocate(int mode, uint64_t offset, uint64_t count) {
    int result;
    lock_range(offset, count);
    do
        result = fallocate(volume.fd, mode | FALLOC_FL_KEEP_SIZE, volume.data_offset + offset, count);
    while (result && errno == EINTR);
    int err = result ? errno : 0;
    unlock_range(offset, count);
    return err;
}

/* Ciphertext zeros, which a thin volume reads as zeros. */
static int store_zeros(uint64_t offset, uint64_t count) {
    int err = 0;
    while (count && !err) {
        size_t n = chunk_at(offset, count);
        pthread_rwlock_t *stripe = stripe_of(offset);
        pthread_rwlock_wrlock(stripe);
        err = store(zeros, n, offset, true);
        pthread_rwlock_unlock(stripe);
        offset += n;
        count -= n;
    }
    return err;
}

static int zero_sectors(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    if (fast && !may_trim && !volume.regular)
        return EOPNOTSUPP; /* the kernel may write the zeros itself */
    int err = allocate(may_trim ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, count);
    return err == EOPNOTSUPP && !fast ? store_zeros(offset, count) : err;
}

/* `fast` fails with EOPNOTSUPP, and changes nothing, where it would be as slow as writing. */
static int volume_zero(uint64_t offset, uint64_t count, bool may_trim, bool fast) {
    if (!in_bounds(offset, count))
        return EINVAL;
    if (!key_usable())
        return EPERM;
    if (!volume.thin)
        return fast ? EOPNOTSUPP : volume_write(NULL, count, offset, true);
    uint64_t end = offset + count, whole = sector_ceiling(offset), whole_end = sector_floor(end);
    if (whole >= whole_end)
        return volume_write(NULL, count, offset, true);
    int err = zero_sectors(whole, whole_end - whole, may_trim, fast);
    if (!err && offset < whole)
        err = volume_write(NULL, whole - offset, offset, true);
    if (!err && whole_end < end)
        err = volume_write(NULL, end - whole_end, whole_end, true);
    return err;
}

/* Discarding is a hint: partial sectors and filesystems that can't punch holes ignore it. */
static int volume_trim(uint64_t offset, uint64_t count) {
    if (!in_bounds(offset, count))
        return EINVAL;
    if (!key_usable())
        return EPERM;
    uint64_t whole = sector_ceiling(offset), whole_end = sector_floor(offset + count);
    if (!volume.thin || whole >= whole_end)
        return 0;
    int err = allocate(FALLOC_FL_PUNCH_HOLE, whole, whole_end - whole);
    return err == EOPNOTSUPP ? 0 : err;
}

/* --- Extents --------------------------------------------------------------------------------- */

/* The next offset of data or of a hole, counted in the volume and not beyond `end`. */
static int seek(int whence, uint64_t offset, uint64_t end, uint64_t *found) {
    struct stat status;
    off_t at = lseek(volume.fd, volume.data_offset + offset, whence);
    *found = end;
    if (at < 0 && errno != ENXIO)
        return errno;
    if (at < 0) { /* no data up to the end of the file: is it where it should be? */
        if (fstat(volume.fd, &status))
            return errno;
        return (uint64_t)status.st_size < volume.data_offset + volume.size ? EIO : 0;
    }
    if ((uint64_t)at - volume.data_offset < end)
        *found = at - volume.data_offset;
    return 0;
}

/* Fill `extents`, at most `limit`, from `offset` to the end of the range and not beyond: a length of
 * 4 GiB would not fit into an answer. A sector of which the filesystem holds any part is data. */
static int volume_extents(uint64_t offset, uint64_t count, struct extent *extents, size_t limit,
                          size_t *filled) {
    *filled = 0;
    if (!in_bounds(offset, count))
        return EINVAL;
    uint64_t at = offset, end = offset + count, data, next;
    while (at < end && *filled < limit) {
        uint64_t first = sector_floor(at), last = sector_ceiling(end);
        int err = seek(SEEK_DATA, first, last, &data);
        next = data < last ? sector_floor(data) : last;
        bool hole = !err && next > at;
        if (!err && !hole) {
            err = seek(SEEK_HOLE, data, last, &next);
            next = sector_ceiling(next);
        }
        if (err)
            return err;
        next = next < end ? next : end;
        extents[(*filled)++] = (struct extent){at, next - at, hole};
        at = next;
    }
    return 0;
}

static int volume_prefetch(uint64_t offset, uint64_t count) {
    if (!in_bounds(offset, count))
        return EINVAL;
    return posix_fadvise(volume.fd, volume.data_offset + offset, count, POSIX_FADV_WILLNEED);
}

#endif
