/* The memory of the process: how little it takes, and that it is not swapped out. */
#ifndef EVSD_PROCESS_MEMORY_H
#define EVSD_PROCESS_MEMORY_H

/* Keep every page out of swap. Only without a limit: under one, mlockall would succeed now and
 * the stack of a later thread would not fit. 0 or an errno. */
int process_lock_memory(void);

/* One arena for all threads: each would have its own else, 60 KiB and more. Requests allocate
 * next to nothing. To be called before there are threads. */
void process_one_arena(void);

/* Give back what only starting needed: 6 of 18 MiB, which would stay locked in memory else. */
void process_trim(void);

#endif
