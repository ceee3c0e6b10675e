// Work that threads share: `parallel one|two SIDE`, a Mandelbrot set by that many threads. Where no thread can be started, as in WASI
// preview 1, the program does it alone.
#include <pthread.h>
#include <stdatomic.h>

#include "timed.h"

static int side;
static atomic_int row;

static uint32_t in_row(int row) {
    uint32_t inside = 0;
    for (int column = 0; column < side; column++) {
        double cx = 3.0 * column / side - 2, cy = 2.0 * row / side - 1, x = 0, y = 0;
        int step = 0;
        for (double next; step < 200 && x * x + y * y < 4; step++, x = next) {
            next = x * x - y * y + cx;
            y = 2 * x * y + cy;
        }
        inside += step == 200;
    }
    return inside;
}

static void *rows(void *inside) {
    for (int own; (own = atomic_fetch_add(&row, 1)) < side;)
        *(uint32_t *)inside += in_row(own);
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
