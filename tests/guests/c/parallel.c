// Work that threads share: `parallel one|two SIDE`, a Mandelbrot set by that many threads. Where no thread can be started, as in WASI
// preview 1, the program does it alone.
#include <pthread.h>
#include <stdatomic.h>

#include "mandelbrot.h"
#include "timed.h"

static int side;
static atomic_int row;

static void *rows(void *inside) {
    for (int own; (own = atomic_fetch_add(&row, 1)) < side;)
        *(uint32_t *)inside += inside_in_row(own, side);
    return inside;
}

static uint32_t one(int given) {
    uint32_t inside = 0;
    side = given;
    rows(&inside);
    return inside;
}

static uint32_t two(int given) {
    pthread_t other;
    uint32_t inside[2] = {0, 0};
    side = given;
    int refused = pthread_create(&other, NULL, rows, &inside[1]);
    rows(&inside[0]);
    if (!refused)
        pthread_join(other, NULL);
    return inside[0] + inside[1];
}

int main(int count, char **words) {
    const struct work all[] = {{"one", one}, {"two", two}, {NULL, NULL}};
    return timed(all, count, words);
}
