#include "key_page.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include <openssl/crypto.h>

int key_page_new(struct key_page **page) {
    size_t length = sizeof **page;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return errno;
    if (mlock(memory, length) || madvise(memory, length, MADV_DONTDUMP) ||
        madvise(memory, length, MADV_DONTFORK)) {
        int err = errno;
        munmap(memory, length);
        return err;
    }
    *page = memory;
    (*page)->users = 1;
    return 0;
}

void key_page_join(struct key_page *page) { page->users++; }

void key_page_leave(struct key_page *page) {
    while (page && !--page->users) {
        struct key_page *lower = page->lower;
        OPENSSL_cleanse(page, sizeof *page);
        munmap(page, sizeof *page);
        page = lower;
    }
}
