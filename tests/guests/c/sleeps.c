// Time-outs that are over at once or are moments of a clock: for each of them a line, «soon» or «in time» or how long it took.
// `sleeps`, with a standard input in which nothing comes.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>
#ifdef __wasm__
#include <wasi/api.h>
#endif

static const long MILLISECOND = 1000000, SECOND = 1000000000;
static struct timespec begun;

static long elapsed(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / MILLISECOND;
}

static void begin(void) {
    clock_gettime(CLOCK_MONOTONIC, &begun);
}

// From `least` milliseconds to a second more, which a busy machine may take.
static void took(const char *what, int answer, long least) {
    long time = elapsed();
    printf("%s: %d, ", what, answer);
    if (time >= least && time < least + 1000)
        puts(least ? "in time" : "soon");
    else
        printf("%ld ms\n", time);
    fflush(stdout);
}

// `clock`'s time now, and so many milliseconds more.
static struct timespec later(clockid_t clock, long more) {
    struct timespec moment;
    clock_gettime(clock, &moment);
    moment.tv_sec += more / 1000;
    moment.tv_nsec += more % 1000 * MILLISECOND;
    if (moment.tv_nsec >= SECOND)
        moment.tv_nsec -= SECOND, moment.tv_sec++;
    if (moment.tv_nsec < 0)
        moment.tv_nsec += SECOND, moment.tv_sec--;
    return moment;
}

static int until(clockid_t clock, struct timespec moment) {
    begin();
    return clock_nanosleep(clock, TIMER_ABSTIME, &moment, NULL);
}

#ifdef __wasm__
// Two clocks, of which the first to come is told alone, wherever it stands.
static int first_of_two(int which) {
    __wasi_subscription_t clocks[2] = {0};
    __wasi_event_t events[2];
    for (int n = 0; n < 2; n++) {
        clocks[n].userdata = n + 1;
        clocks[n].u.tag = __WASI_EVENTTYPE_CLOCK;
        clocks[n].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
        clocks[n].u.u.clock.timeout = n == which ? 50 * MILLISECOND : 3600 * (__wasi_timestamp_t)SECOND;
    }
    __wasi_size_t number = 0;
    begin();
    if (__wasi_poll_oneoff(clocks, events, 2, &number))
        return -1;
    return number == 1 && events[0].userdata == (__wasi_userdata_t)which + 1;
}
#else
static int first_of_two(int which) {
    struct timespec time = {0, 50 * MILLISECOND};
    begin();
    return nanosleep(&time, NULL) == 0 && which < 2;
}
#endif

int main(void) {
    struct timespec none = {0, 0}, some = {0, 50 * MILLISECOND};
    struct pollfd input = {.fd = 0, .events = POLLIN};
    struct timeval at_once = {0, 0};
    fd_set set;
    begin(), took("nanosleep 0", nanosleep(&none, NULL), 0);
    begin(), took("usleep 0", usleep(0), 0);
    begin(), took("sleep 0", (int)sleep(0), 0);
    begin(), took("nanosleep", nanosleep(&some, NULL), 50);
    begin(), took("poll 0", poll(&input, 1, 0), 0);
    begin(), took("poll", poll(&input, 1, 50), 50);
    FD_ZERO(&set);
    FD_SET(0, &set);
    begin(), took("select 0", select(1, &set, NULL, NULL, &at_once), 0);
    took("realtime, later", until(CLOCK_REALTIME, later(CLOCK_REALTIME, 50)), 40);
    took("realtime, past", until(CLOCK_REALTIME, later(CLOCK_REALTIME, -100000)), 0);
    took("realtime, 1970", until(CLOCK_REALTIME, none), 0);
    took("monotonic, later", until(CLOCK_MONOTONIC, later(CLOCK_MONOTONIC, 50)), 40);
    took("monotonic, past", until(CLOCK_MONOTONIC, later(CLOCK_MONOTONIC, -50)), 0);
    took("monotonic, at boot", until(CLOCK_MONOTONIC, none), 0);
    took("the first of two", first_of_two(0), 50);
    took("the second of two", first_of_two(1), 50);
    return 0;
}
