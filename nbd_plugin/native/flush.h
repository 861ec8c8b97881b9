/* Flushing: one fdatasync at a time, for all who asked before it began. */
#ifndef EVSD_FLUSH_H
#define EVSD_FLUSH_H

/* Wait until everything written so far is on disk. A failure is for good: the kernel gives up the
 * pages it could not write and reports that once, to one of several connections that flush. */
int volume_flush(void);

#endif
