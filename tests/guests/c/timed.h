// What the guests that are measured share: `PROGRAM WORK ROUNDS` prints a result that no compiler can foresee, and how many nanoseconds
// the work took, start-up left out. The same source is a native program, WASI preview 1 and WASIX.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct work {
    const char *name;
    uint32_t (*done)(int rounds);
};

static inline int timed(const struct work *all, int count, char **words) {
    while (all->name && (count != 3 || strcmp(words[1], all->name)))
        all++;
    if (!all->name)
        return 2;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint32_t result = all->done(atoi(words[2]));
    clock_gettime(CLOCK_MONOTONIC, &end);
    long long nanoseconds = (end.tv_sec - begin.tv_sec) * 1000000000LL + (end.tv_nsec - begin.tv_nsec);
    printf("%u %lld\n", result, nanoseconds);
    return 0;
}

// A number that looks random, the same in every run.
static inline uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}
