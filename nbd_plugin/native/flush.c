#include "flush.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "layers.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t asked, covered;
    bool running;
    int error;
} flushing = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

int volume_flush(void) {
    pthread_mutex_lock(&flushing.lock);
    uint64_t mine = ++flushing.asked;
    while (flushing.covered < mine) {
        if (flushing.running) {
            pthread_cond_wait(&flushing.done, &flushing.lock);
            continue;
        }
        uint64_t covers = flushing.asked;
        flushing.running = true;
        pthread_mutex_unlock(&flushing.lock);
        int err = layers_sync();
        pthread_mutex_lock(&flushing.lock);
        if (err)
            flushing.error = err;
        flushing.running = false;
        flushing.covered = covers;
        pthread_cond_broadcast(&flushing.done);
    }
    int err = flushing.error;
    pthread_mutex_unlock(&flushing.lock);
    return err;
}
