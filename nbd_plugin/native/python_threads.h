/* nbdkit's threads are not Python's: each callback makes a Python thread state and destroys it
 * again, unless one reference to it is kept until the thread ends.
 */
#ifndef EVSD_PYTHON_THREADS_H
#define EVSD_PYTHON_THREADS_H

/* From now on threads are nbdkit's; Python's own destroy their state themselves. 0 or an errno. */
int threads_keep_state(void);

/* Keep the calling thread's until it ends. Needs the GIL. */
void thread_keep(void);

#endif
