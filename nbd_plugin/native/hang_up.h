/* The end by SIGTERM. */
#ifndef EVSD_HANG_UP_H
#define EVSD_HANG_UP_H

/* nbdkit 1.32 ends when its clients have gone, however long an idle one stays: so on SIGTERM they
 * are hung up on. What they have asked for is still done, and answered. 0 or an errno. */
int process_hang_up_at_end(void);

#endif
