#include "process_memory.h"

#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

int process_lock_memory(void) {
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

void process_one_arena(void) { mallopt(M_ARENA_MAX, 1); }

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

void process_trim(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    malloc_trim(0);
    dl_iterate_phdr(unmap_constants, &page);
}
