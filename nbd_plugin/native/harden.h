/* What other processes may do to this one, and what may end it. */
#ifndef EVSD_HARDEN_H
#define EVSD_HARDEN_H

/* No core dumps, no ptrace by the same user, no privileges by exec. And no end with the parent:
 * nbdkit 1.32.5 --foreground asks for SIGTERM when its parent dies (prctl PR_SET_PDEATHSIG), but
 * an attached volume must outlive evsd. 0 or an errno. */
int process_harden(void);

#endif
