/* The process gives up what it will never need: Landlock, see landlock(7).
 *
 * From then on it can read and write its volume, read what is under /usr (glibc loads libgcc when
 * the first thread exits), and open no other file: not another volume, not the token with its PIN,
 * not the database, whose owner is the same user. It can remove, make and execute nothing, trace
 * nobody, and, as far as the kernel knows how, make no TCP connection (Linux 6.7) and send no
 * signal (6.12). What is open stays so; unix sockets can still be connected, for the next key.
 */
#ifndef EVSD_SANDBOX_H
#define EVSD_SANDBOX_H

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The headers of Linux 6.1 know the first two versions of the interface, of 1 to 7. */
#define SANDBOX_VERSIONS 6
#define SANDBOX_TRUNCATE (1ULL << 14)  /* 3 */
#define SANDBOX_IOCTL_DEV (1ULL << 15) /* 5 */
#define SANDBOX_TCP 3ULL               /* 4: bind, connect */
#define SANDBOX_SCOPED 3ULL            /* 6: abstract unix sockets, signals */

struct sandbox_rules {
    uint64_t files, net, scoped;
};

/* All that a version of the interface can deny. */
static struct sandbox_rules sandbox_all(int version) {
    static const int known[SANDBOX_VERSIONS + 1] = {0, 13, 14, 15, 15, 16, 16};
    int v = version > SANDBOX_VERSIONS ? SANDBOX_VERSIONS : version;
    return (struct sandbox_rules){
        (1ULL << known[v]) - 1, v >= 4 ? SANDBOX_TCP : 0, v >= 6 ? SANDBOX_SCOPED : 0};
}

static int sandbox_allow(int rules, const char *path, uint64_t access) {
    struct landlock_path_beneath_attr rule = {access, open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return errno;
    long err = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int number = err ? errno : 0;
    close(rule.parent_fd);
    return number;
}

/* For the calling thread and those it starts: before there are others. ENOSYS where the kernel has
 * no Landlock, has it switched off, or may not be asked. */
static int sandbox_enter(const char *volume) {
    int version =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return ENOSYS;
    struct sandbox_rules all = sandbox_all(version);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (rules < 0)
        return errno;
    uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    uint64_t serving = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                       SANDBOX_TRUNCATE | SANDBOX_IOCTL_DEV;
    int err = sandbox_allow(rules, volume, serving & all.files);
    if (!err)
        err = sandbox_allow(rules, "/usr", reading);
    if (!err && syscall(SYS_landlock_restrict_self, rules, 0))
        err = errno;
    close(rules);
    return err;
}

#endif
