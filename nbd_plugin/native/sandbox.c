#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The headers of Linux 6.1 know the first two versions of the interface, of 1 to 7. */
#define VERSIONS 6
#define TRUNCATE (1ULL << 14)  /* 3 */
#define IOCTL_DEV (1ULL << 15) /* 5 */
#define TCP 3ULL               /* 4: bind, connect */
#define SCOPED 3ULL            /* 6: abstract unix sockets, signals */

struct rules {
    uint64_t files, net, scoped;
};

/* All that a version of the interface can deny. */
static struct rules all_of(int version) {
    static const int known[VERSIONS + 1] = {0, 13, 14, 15, 15, 16, 16};
    int v = version > VERSIONS ? VERSIONS : version;
    return (struct rules){(1ULL << known[v]) - 1, v >= 4 ? TCP : 0, v >= 6 ? SCOPED : 0};
}

static int allow(int rules, const char *path, uint64_t access) {
    struct landlock_path_beneath_attr rule = {access, open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return errno;
    long err = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int number = err ? errno : 0;
    close(rule.parent_fd);
    return number;
}

int sandbox_enter(const char *volume) {
    int version =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return ENOSYS;
    struct rules all = all_of(version);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (rules < 0)
        return errno;
    uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    uint64_t serving = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE |
                       IOCTL_DEV;
    int err = allow(rules, volume, serving & all.files);
    if (!err)
        err = allow(rules, "/usr", reading);
    if (!err && syscall(SYS_landlock_restrict_self, rules, 0))
        err = errno;
    close(rules);
    return err;
}
