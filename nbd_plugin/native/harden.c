#include "harden.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int process_harden(void) {
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
        setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return errno;
    return 0;
}
