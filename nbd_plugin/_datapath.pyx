# cython: language_level=3, binding=False, embedsignature=False
"""What `plugin.py` needs of the files in `native/`, and nbdkit's callbacks as compiled functions.

The callbacks serve where there is no front, `nbdkit python plugin.py`: nbdkit looks them up as
attributes of the plugin's module and calls whatever it finds. With the front (`native/front.h`)
requests go past Python. One volume per process; its state is in those files.
"""

from cpython.memoryview cimport PyMemoryView_Check, PyMemoryView_GET_BUFFER
from libc.errno cimport EBADMSG, EINVAL, ENOSYS
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "native/harden.h" nogil:
    int process_harden()

cdef extern from "native/process_memory.h" nogil:
    int process_lock_memory()
    void process_one_arena()
    void process_trim()

cdef extern from "native/python_threads.h":
    int threads_keep_state()
    void thread_keep()

cdef extern from "native/hang_up.h" nogil:
    int process_hang_up_at_end()

cdef extern from "native/peer.h" nogil:
    void process_peer(int64_t *pid, int64_t *uid)

cdef extern from "native/sandbox.h" nogil:
    int sandbox_enter(const char *volume)

cdef extern from "native/sector.h":
    enum:
        SECTOR
        UNIT

cdef extern from "native/hpke.h":
    enum:
        X25519_LENGTH
        TAG_LENGTH

cdef extern from "native/key_page.h":
    enum:
        KEY_LENGTH "DEK_LENGTH"

cdef extern from "native/key.h" nogil:
    enum:
        DIGEST_LENGTH
    int key_new_release(uint8_t *public)
    int key_unseal(const uint8_t *encapsulated, const uint8_t *sealed, const void *info,
                   size_t info_length)
    bint key_verify(const uint8_t *salt, int salt_length, int iterations, const uint8_t *digest,
                    bint of_layers)
    void key_wipe()

cdef extern from "native/volume.h" nogil:
    int volume_set(int fd, uint64_t data_offset, uint64_t size, bint thin, bint is_layer)
    int volume_prefetch(uint64_t offset, uint64_t count)

cdef extern from "native/layers.h" nogil:
    int layers_add(int fd, uint64_t data_offset, uint64_t size, unsigned key)
    int layers_switch(int fd, uint64_t data_offset, uint64_t size)
    void layers_grow(uint64_t size)

cdef extern from "native/stripes.h" nogil:
    void stripes_take_all()
    void stripes_leave_all()

cdef extern from "native/read.h" nogil:
    int volume_read(uint8_t *data, uint64_t count, uint64_t offset)

cdef extern from "native/write.h" nogil:
    int volume_write(const uint8_t *data, uint64_t count, uint64_t offset)

cdef extern from "native/zero.h" nogil:
    int volume_zero(uint64_t offset, uint64_t count, bint may_trim, bint fast)
    int volume_trim(uint64_t offset, uint64_t count)

cdef extern from "native/flush.h" nogil:
    int volume_flush()

cdef extern from "native/extents.h" nogil:
    cdef struct extent:
        uint64_t offset
        uint64_t length
        bint hole
    int volume_extents(uint64_t offset, uint64_t count, extent *extents, size_t limit,
                       size_t *filled)

cdef extern from "native/data_path.h":
    bint data_path_hand_over()
    const char *data_path_remedy(int error)

cdef extern from "native/sector_crypt.h" nogil:
    int sector_crypt(const uint8_t *dek, uint64_t unit, const uint8_t *data, uint8_t *out,
                     size_t count, unsigned at, bint encrypt, int by)

cdef enum:
    MAX_EXTENTS = 256
    # nbdkit's flags, include/nbdkit-common.h; they are part of its ABI.
    MAY_TRIM = 1
    FUA = 2
    REQ_ONE = 4
    FAST_ZERO = 8
    EXTENT_HOLE = 1
    EXTENT_ZERO = 2

DEK_LENGTH = KEY_LENGTH


# Setting up: the slow path calls these.


def harden() -> bool:
    """Protect the process: no core dumps, no ptrace, no new privileges, nothing in swap.

    Call it once, in the process that serves, from nbdkit. Returns whether all memory is locked;
    the key's page is in any case. Raises OSError.
    """
    _check(process_harden())
    _check(threads_keep_state())
    process_one_arena()
    return process_lock_memory() == 0


def confine(bytes volume) -> bool:
    """Give up, for good, every file but the one at this path; see `sandbox.h` for what else.

    Call it once, after `harden`, before there are threads. Returns whether the kernel can do it.
    Raises OSError where it fails.
    """
    cdef int err = sandbox_enter(volume)
    if err == ENOSYS:
        return False
    _check(err)
    return True


def hang_up_at_end() -> None:
    """Let SIGTERM end the connections of clients, which nbdkit would wait for. Raises OSError."""
    _check(process_hang_up_at_end())


def peer() -> tuple[int, int]:
    """Process and user of the connection that is being opened; 0 or -1 where they can't be told."""
    cdef int64_t pid, uid
    process_peer(&pid, &uid)
    return pid, uid


def trim_memory() -> None:
    """Give memory back that only starting needed; it costs a few page faults later."""
    with nogil:
        process_trim()


def hand_over() -> bool:
    """Let the front serve requests, without Python. Returns whether there is one.

    Call it once, in the process that serves, from nbdkit, before there are threads.
    """
    return data_path_hand_over()


def set_volume(
    int fd, uint64_t data_offset, uint64_t size, bint thin, bint is_layer=False
) -> None:
    """Serve `size` bytes at `data_offset` of the open file `fd`.

    In a thick volume that `is_layer` sectors may be absent too. Raises OSError.
    """
    _check(volume_set(fd, data_offset, size, thin, is_layer))


def add_layer(int fd, uint64_t data_offset, uint64_t size, unsigned key=0) -> None:
    """What the volume does not have is looked for there, before it serves; the lowest is first.

    `key` is 0 for the volume's own, else it counts those that were verified `of_layers`, the last
    being 1.

    Raises OSError: ENOTBLK for what is no regular file, EMLINK for more layers than there may be.
    """
    _check(layers_add(fd, data_offset, size, key))


def switch_layer(int fd, uint64_t data_offset, uint64_t size) -> None:
    """Freeze the file that is written to, and write to this one above it, which is empty.

    Requests go on meanwhile; all that are answered after this returns are in the new one. Raises
    OSError as `add_layer` does, and EINVAL for a smaller one; nothing has changed then.
    """
    cdef int err
    with nogil:
        err = layers_switch(fd, data_offset, size)
    _check(err)


def hold() -> None:
    """Let requests wait until this thread, which may switch meanwhile, calls `let_go`."""
    with nogil:
        stripes_take_all()


def let_go() -> None:
    """Let them go on."""
    with nogil:
        stripes_leave_all()


def grow(uint64_t size) -> None:
    """Serve so many bytes of the file that is written to, for connections made from now on."""
    with nogil:
        layers_grow(size)


def new_release_key() -> bytes:
    """Make a one-time key; returns its public half, 32 bytes. The private one stays inside."""
    cdef uint8_t public[X25519_LENGTH]
    _check(key_new_release(public))
    return public[:X25519_LENGTH]


def unseal(bytes encapsulated, bytes sealed, bytes info) -> None:
    """Open the DEK that was sealed to the one-time key, into locked memory.

    `encapsulated` is 32 bytes, `sealed` 80, `info` at most 256. Raises ValueError when it is not
    authentic, OSError when there is no one-time key. It can't be used before `verify_digest`.
    """
    cdef bint fits = len(encapsulated) == X25519_LENGTH and len(sealed) == KEY_LENGTH + TAG_LENGTH
    if not fits or len(info) > 256:
        raise ValueError("a sealed key has the wrong length")
    cdef int err = key_unseal(encapsulated, sealed, <const char *>info, len(info))
    if err == EBADMSG:
        raise ValueError("the sealed key is not authentic")
    _check(err)


def verify_digest(bytes salt, int iterations, bytes digest, bint of_layers=False) -> bool:
    """Whether the DEK has this PBKDF2-HMAC-SHA256; only then is it used, else all are wiped.

    Those `of_layers` that have another key than the volume come before its own, the lowest first.
    """
    if len(digest) != DIGEST_LENGTH:
        raise ValueError("a digest has 32 bytes")
    cdef const uint8_t *salt_bytes = salt
    cdef const uint8_t *digest_bytes = digest
    cdef int salt_length = len(salt)
    cdef bint right
    with nogil:
        right = key_verify(salt_bytes, salt_length, iterations, digest_bytes, of_layers)
    return right


def wipe() -> None:
    """Overwrite the DEK, the contexts made of it and the buffers; I/O then fails with EPERM."""
    with nogil:
        key_wipe()


def crypt(bytes dek, uint64_t unit, bytes data, bint encrypt, int lanes, unsigned at=0) -> bytes:
    """A sector, or what of it begins `at` bytes into it, under a key of the caller's.

    `unit` is the sector's number in 512 bytes. `lanes` chooses how: 1, 2 or 4 is a width of `xts.h`,
    in units of 512 bytes; 0 is libcrypto, for whole sectors. For tests against published vectors.
    Raises ValueError where the processor lacks the instructions.
    """
    cdef uint8_t out[SECTOR]
    cdef size_t count = len(data)
    if len(dek) != KEY_LENGTH or not count or at + count > SECTOR:
        raise ValueError("64 bytes of key and at most 4096 of data are expected")
    if count % (UNIT if lanes else SECTOR) or at % UNIT:
        raise ValueError("whole units are expected, of libcrypto whole sectors")
    cdef int err = sector_crypt(dek, unit, data, out, count, at, encrypt, lanes)
    if err == EINVAL:
        raise ValueError(f"this processor has no AES of {lanes} lanes")
    _check(err)
    return out[:count]


# The callbacks. `handle` is unused: there is one volume.


def pread(handle, buffer, uint64_t offset, uint32_t flags):
    """Fill `buffer` from `offset`."""
    thread_keep()
    cdef Py_buffer *view = _buffer(buffer)
    if view.readonly:
        raise TypeError("a writable memoryview is expected")
    cdef uint8_t *data = <uint8_t *>view.buf
    cdef uint64_t count = view.len
    cdef int err
    with nogil:
        err = volume_read(data, count, offset)
    _check(err)


def pwrite(handle, buffer, uint64_t offset, uint32_t flags):
    """Write `buffer` at `offset`."""
    thread_keep()
    cdef Py_buffer *view = _buffer(buffer)
    cdef const uint8_t *data = <const uint8_t *>view.buf
    cdef uint64_t count = view.len
    cdef int err
    with nogil:
        err = volume_write(data, count, offset)
        if not err and flags & FUA:
            err = volume_flush()
    _check(err)


def flush(handle, uint32_t flags):
    """Wait until everything written, through any connection, is on disk."""
    cdef int err
    with nogil:
        err = volume_flush()
    _check(err)


def trim(handle, int64_t count, uint64_t offset, uint32_t flags):
    """Give a range back to the filesystem, where the volume is thin."""
    cdef int err
    with nogil:
        err = volume_trim(offset, <uint32_t>count)
        if not err and flags & FUA:
            err = volume_flush()
    _check(err)


def zero(handle, int64_t count, uint64_t offset, uint32_t flags):
    """Make a range read as zeros."""
    cdef int err
    with nogil:
        err = volume_zero(offset, <uint32_t>count, flags & MAY_TRIM, flags & FAST_ZERO)
        if not err and flags & FUA:
            err = volume_flush()
    _check(err)


def cache(handle, int64_t count, uint64_t offset, uint32_t flags):
    """Read ahead."""
    cdef int err
    with nogil:
        err = volume_prefetch(offset, <uint32_t>count)
    _check(err)


def extents(handle, int64_t count, uint64_t offset, uint32_t flags):
    """List (offset, length, type) from `offset` on, not necessarily up to the end of the range."""
    cdef extent found[MAX_EXTENTS]
    cdef size_t filled, i, limit = 1 if flags & REQ_ONE else MAX_EXTENTS
    cdef int err
    with nogil:
        err = volume_extents(offset, <uint32_t>count, found, limit, &filled)
    _check(err)
    return [
        (found[i].offset, found[i].length, EXTENT_HOLE | EXTENT_ZERO if found[i].hole else 0)
        for i in range(filled)
    ]


cdef Py_buffer *_buffer(object buffer) except NULL:
    """The memory nbdkit passes; a memoryview needs no acquiring while its caller holds it."""
    if not PyMemoryView_Check(buffer):
        raise TypeError("a memoryview is expected")
    cdef Py_buffer *view = PyMemoryView_GET_BUFFER(buffer)
    if view.ndim != 1 or view.itemsize != 1 or (view.strides and view.strides[0] != 1):
        raise TypeError("a contiguous memoryview of bytes is expected")
    return view


cdef int _check(int err) except -1:
    if err:
        _fail(err)
    return 0


cdef object _fail(int err):
    """Raise OSError, and tell nbdkit its errno, where this runs inside nbdkit."""
    import os

    try:
        import nbdkit
    except ImportError:
        pass
    else:
        nbdkit.set_error(err)
    raise OSError(err, os.strerror(err) + data_path_remedy(err).decode())
