#include "hang_up.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>

static struct sigaction nbdkits_end;

static void end_connections(int signal) {
    enum { FIRST = 3, DESCRIPTORS = 4096 };
    int number = errno;
    if (nbdkits_end.sa_handler != SIG_DFL && nbdkits_end.sa_handler != SIG_IGN)
        nbdkits_end.sa_handler(signal);
    for (int fd = FIRST; fd < DESCRIPTORS; fd++) {
        int listens = 0;
        socklen_t length = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) && !listens)
            shutdown(fd, SHUT_RD);
    }
    errno = number;
}

int process_hang_up_at_end(void) {
    struct sigaction end;
    if (sigaction(SIGTERM, NULL, &nbdkits_end))
        return errno;
    end = nbdkits_end;
    end.sa_flags &= ~SA_SIGINFO;
    end.sa_handler = end_connections;
    return sigaction(SIGTERM, &end, NULL) ? errno : 0;
}
