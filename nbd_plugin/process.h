/* What the process does to itself: hygiene, and a Python thread state per thread. */
#ifndef EVSD_PROCESS_H
#define EVSD_PROCESS_H

#include <Python.h>

#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* No core dumps, no ptrace by the same user, no privileges by exec. And no end with the parent:
 * nbdkit 1.32.5 --foreground asks for SIGTERM when its parent dies (prctl PR_SET_PDEATHSIG), but
 * an attached volume must outlive evsd. */
static int process_harden(void) {
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
        setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return errno;
    return 0;
}

/* Keep every page out of swap. Only without a limit: under one, mlockall would succeed now and
 * the stack of a later thread would not fit. */
static int process_lock_memory(void) {
#ifdef __SANITIZE_ADDRESS__
    return EPERM; /* its shadow has 16 TiB */
#endif
    struct rlimit limit, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (getrlimit(RLIMIT_MEMLOCK, &limit))
        return errno;
    if (limit.rlim_cur != RLIM_INFINITY)
        return EPERM;
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) ? errno : 0;
}

/* nbdkit 1.32 ends when its clients have gone, however long an idle one stays: so on SIGTERM they
 * are hung up on. What they have asked for is still done, and answered. */
static struct sigaction process_nbdkits_end;

static void process_end(int signal) {
    enum { FIRST = 3, DESCRIPTORS = 4096 };
    int number = errno;
    if (process_nbdkits_end.sa_handler != SIG_DFL && process_nbdkits_end.sa_handler != SIG_IGN)
        process_nbdkits_end.sa_handler(signal);
    for (int fd = FIRST; fd < DESCRIPTORS; fd++) {
        int listens = 0;
        socklen_t length = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) && !listens)
            shutdown(fd, SHUT_RD);
    }
    errno = number;
}

static int process_hang_up_at_end(void) {
    struct sigaction end;
    if (sigaction(SIGTERM, NULL, &process_nbdkits_end))
        return errno;
    end = process_nbdkits_end;
    end.sa_flags &= ~SA_SIGINFO;
    end.sa_handler = process_end;
    return sigaction(SIGTERM, &end, NULL) ? errno : 0;
}

/* Of the connection that is being opened, see nbdkit_peer_pid(3), which nbdkit 1.32 hands to plugins
 * in C only; there is none outside nbdkit. 0 for what can't be told. */
int64_t nbdkit_peer_pid(void) __attribute__((weak));
int64_t nbdkit_peer_uid(void) __attribute__((weak));

static void process_peer(int64_t *pid, int64_t *uid) {
    *pid = nbdkit_peer_pid ? nbdkit_peer_pid() : 0;
    *uid = nbdkit_peer_uid ? nbdkit_peer_uid() : -1;
}

/* --- Memory ---------------------------------------------------------------------------------- */

#ifndef MADV_DONTNEED_LOCKED /* Linux 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

/* Unmap what was read of one library's code and constants; it is read again when it is used. */
static int unmap_constants(struct dl_phdr_info *library, size_t size, void *page) {
    (void)size;
    uintptr_t mask = ~(*(uintptr_t *)page - 1);
    for (int i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || part->p_flags & PF_W)
            continue;
        uintptr_t start = (library->dlpi_addr + part->p_vaddr) & mask;
        uintptr_t end = library->dlpi_addr + part->p_vaddr + part->p_memsz;
        if (madvise((void *)start, end - start, MADV_DONTNEED_LOCKED))
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

/* Give back what only starting needed: 6 of 18 MiB, which would stay locked in memory else. */
static void process_trim(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    malloc_trim(0);
    dl_iterate_phdr(unmap_constants, &page);
}

/* One arena for all threads: each would have its own else, 60 KiB and more. Requests allocate
 * next to nothing. To be called before there are threads. */
static void process_one_arena(void) { mallopt(M_ARENA_MAX, 1); }

/* --- Threads --------------------------------------------------------------------------------- */

/* nbdkit's threads are not Python's: each callback makes a Python thread state and destroys it
 * again, unless one reference to it is kept until the thread ends. */
static bool threads_are_nbdkits; /* Python's own threads destroy their state themselves */
static __thread bool thread_kept;
static pthread_key_t thread_end;

static void thread_forget(void *state) {
    if (!Py_IsInitialized() || _Py_IsFinalizing())
        return;
    /* Not PyGILState_Ensure: its thread-specific pointer is already gone here. */
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

static int threads_keep_state(void) {
    int err = threads_are_nbdkits ? 0 : pthread_key_create(&thread_end, thread_forget);
    threads_are_nbdkits = !err;
    return err;
}

static inline void thread_keep(void) {
    if (thread_kept || !threads_are_nbdkits)
        return;
    thread_kept = true;
    PyGILState_Ensure();
    pthread_setspecific(thread_end, PyThreadState_Get());
}

#endif
