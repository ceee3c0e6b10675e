// Waits for standard input in two threads, or for a signal meanwhile:
//   both         one thread polls and then one reads, and each says what it heard; a third polls for a moment meanwhile
//   handler      reads; a handler's signal ends the read
//   restart      reads; a handler's signal does not, by SA_RESTART
//   thread       another thread reads, this one sleeps and has the handler
//   at-once      reads without waiting
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void note(int signal) {
    came = signal;
}

static void say(const char *what, ssize_t number) {
    char text[64];
    int length = snprintf(text, sizeof text, "%s %zd\n", what, number);
    if (write(1, text, (size_t)length) < 0)
        _exit(2);
}

static void *reads(void *nothing) {
    char room[16];
    ssize_t got = read(0, room, sizeof room);
    say(got < 0 && errno == EINTR ? "interrupted" : "read", got);
    return nothing;
}

static void *polls(void *nothing) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    say("polled", poll(&input, 1, -1));
    return nothing;
}

static void take(int flags) {
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    sigaction(SIGTERM, &action, NULL);
}

int main(int count, char **words) {
    const char *way = count > 1 ? words[1] : "";
    pthread_t thread;
    if (!strcmp(way, "both")) {
        struct pollfd input = {.fd = 0, .events = POLLIN};
        pthread_t other;
        pthread_create(&thread, NULL, polls, NULL);
        usleep(100000);
        pthread_create(&other, NULL, reads, NULL);
        usleep(100000);
        say("for a moment", poll(&input, 1, 50));
        pthread_join(thread, NULL);
        pthread_join(other, NULL);
    } else if (!strcmp(way, "thread")) {
        take(0);
        pthread_create(&thread, NULL, reads, NULL);
        say("ready", 0);
        while (!came)
            usleep(20000);
        say("signal", came);
        _exit(7);
    } else if (!strcmp(way, "at-once")) {
        fcntl(0, F_SETFL, O_NONBLOCK);
        char room[16];
        say(read(0, room, sizeof room) < 0 && errno == EAGAIN ? "again" : "not", 0);
    } else {
        take(!strcmp(way, "restart") ? SA_RESTART : 0);
        say("ready", 0);
        reads(NULL);
        say("signal", came);
    }
    return 0;
}
