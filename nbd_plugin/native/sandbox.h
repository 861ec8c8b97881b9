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

/* For the calling thread and those it starts: before there are others. 0 or an errno, ENOSYS where
 * the kernel has no Landlock, has it switched off, or may not be asked. */
int sandbox_enter(const char *volume);

#endif
