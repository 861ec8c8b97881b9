#include "front.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "read_ahead.h"

#ifndef NBDKIT_PLUGIN_DIRECTORY /* setup.py has it of nbdkit --dump-config */
#define NBDKIT_PLUGIN_DIRECTORY "/usr/lib/x86_64-linux-gnu/nbdkit/plugins"
#endif
#define PYTHON_PLUGIN NBDKIT_PLUGIN_DIRECTORY "/nbdkit-python-plugin.so"
enum { MAX_EXTENTS = 256 };

static const struct nbdkit_plugin *python;
static const struct data_path *path; /* NULL: Python's callbacks serve */

void evsd_front_take(const struct data_path *taken) { path = taken; }

/* --- Requests -------------------------------------------------------------------------------- */

static int failed(const char *request, int error) {
    nbdkit_error("%s: %s%s", request, strerror(error), path->remedy(error));
    nbdkit_set_error(error);
    return -1;
}

static int answer(const char *request, int error) { return error ? failed(request, error) : 0; }

/* The same for what may be asked to be on disk when it is answered. */
static int answer_synced(const char *request, int error, uint32_t flags) {
    if (!error && flags & NBDKIT_FLAG_FUA)
        error = path->flush();
    return answer(request, error);
}

static int front_pread(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags) {
    if (!path)
        return python->pread(handle, data, count, offset, flags);
    read_ahead_here();
    return answer("pread", path->read(data, count, offset));
}

static int front_pwrite(void *handle, const void *data, uint32_t count, uint64_t offset,
                        uint32_t flags) {
    if (!path)
        return python->pwrite(handle, data, count, offset, flags);
    read_ahead_here();
    return answer_synced("pwrite", path->write(data, count, offset), flags);
}

static int front_flush(void *handle, uint32_t flags) {
    if (!path)
        return python->flush(handle, flags);
    return answer("flush", path->flush());
}

static int front_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
    if (!path)
        return python->trim(handle, count, offset, flags);
    return answer_synced("trim", path->trim(offset, count), flags);
}

static int front_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
    if (!path)
        return python->zero(handle, count, offset, flags);
    bool fast = flags & NBDKIT_FLAG_FAST_ZERO;
    int error = path->zero(offset, count, flags & NBDKIT_FLAG_MAY_TRIM, fast);
    if (fast && error == EOPNOTSUPP) { /* no failure: it was asked whether it would be fast */
        nbdkit_set_error(error);
        return -1;
    }
    return answer_synced("zero", error, flags);
}

static int front_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
    if (!path)
        return python->cache(handle, count, offset, flags);
    return answer("cache", path->prefetch(offset, count));
}

static int front_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                         struct nbdkit_extents *extents) {
    if (!path)
        return python->extents(handle, count, offset, flags, extents);
    struct extent found[MAX_EXTENTS];
    size_t filled, limit = flags & NBDKIT_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;
    int error = path->extents(offset, count, found, limit, &filled);
    for (size_t i = 0; !error && i < filled; i++) {
        uint32_t type = found[i].hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
        if (nbdkit_add_extent(extents, found[i].offset, found[i].length, type))
            error = errno;
    }
    return answer("extents", error);
}

/* --- Its registration ------------------------------------------------------------------------ */

/* Before Python starts: nothing of its `site` is needed, and it takes 4 ms of each start. */
static void leave_out_site(void *library) {
    int *no_site = dlsym(library, "Py_NoSiteFlag"); /* libpython's, up to 3.13 */
    if (no_site)
        *no_site = 1;
}

/* RTLD_GLOBAL, as nbdkit itself opens plugins: Python's modules in C look for libpython there. */
static struct nbdkit_plugin *load_python_plugin(void) {
    void *library = dlopen(PYTHON_PLUGIN, RTLD_NOW | RTLD_GLOBAL);
    struct nbdkit_plugin *(*init)(void) = NULL;
    if (library)
        *(void **)&init = dlsym(library, "plugin_init");
    if (init)
        leave_out_site(library);
    else
        nbdkit_error("nbdkit's Python plugin can't be loaded: %s", dlerror());
    return init ? init() : NULL;
}

struct nbdkit_plugin *plugin_init(void) __attribute__((visibility("default")));

struct nbdkit_plugin *plugin_init(void) {
    python = load_python_plugin();
    if (!python)
        return NULL;
    /* The structure grows at its end: it may have less or more in it than is known here. */
    size_t needed = offsetof(struct nbdkit_plugin, cache) + sizeof python->cache;
    if (python->_api_version != NBDKIT_API_VERSION || python->_struct_size < needed) {
        nbdkit_error("nbdkit's Python plugin is of another API than %d", NBDKIT_API_VERSION);
        return NULL;
    }
    struct nbdkit_plugin *front = malloc(python->_struct_size);
    if (!front)
        return NULL;
    memcpy(front, python, python->_struct_size);
    front->pread = front_pread;
    front->pwrite = front_pwrite;
    front->flush = front_flush;
    front->trim = front_trim;
    front->zero = front_zero;
    front->cache = front_cache;
    front->extents = front_extents;
    return front;
}
