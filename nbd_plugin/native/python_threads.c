#include "python_threads.h"

#include <Python.h>

#include <pthread.h>
#include <stdbool.h>

static bool threads_are_nbdkits;
static __thread bool thread_kept;
static pthread_key_t thread_end;

static void thread_forget(void *state) {
    if (!Py_IsInitialized() || _Py_IsFinalizing())
        return;
    /* Not PyGILState_Ensure: its thread-specific pointer is already gone here. */
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

int threads_keep_state(void) {
    int err = threads_are_nbdkits ? 0 : pthread_key_create(&thread_end, thread_forget);
    threads_are_nbdkits = !err;
    return err;
}

void thread_keep(void) {
    if (thread_kept || !threads_are_nbdkits)
        return;
    thread_kept = true;
    PyGILState_Ensure();
    pthread_setspecific(thread_end, PyThreadState_Get());
}
