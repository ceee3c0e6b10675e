// A call that waits on a socket for as long as it takes: `patience CALL SECONDS`, after which a thread does what it waits for.
// `patience CALL signal` waits for a signal with a handler, `restart` with one that has it go on; `patience CALL MILLISECONDS
// timeout` sets that time-out first.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char room[65536];
static struct sockaddr_in address;
static int listener, ours, theirs, seconds;
static const char *call;

static int failed(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

static void handler(int number) {
    printf("signal %d\n", number);
    fflush(stdout);
}

static void bound(int socket) {
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(socket, (struct sockaddr *)&address, size) || getsockname(socket, (struct sockaddr *)&address, &size))
        failed("bind");
}

static void connected(void) {
    theirs = socket(AF_INET, SOCK_STREAM, 0);
    if (theirs < 0 || connect(theirs, (struct sockaddr *)&address, sizeof address))
        failed("connect");
}

static int is(const char *what) {
    return !strcmp(call, what);
}

static int sends(void) {
    return is("send") || is("write");
}

static void *act(void *nothing) {
    sleep(seconds);
    if (is("accept"))
        connected();
    else if (is("recvfrom"))
        sendto(theirs, "x", 1, 0, (struct sockaddr *)&address, sizeof address);
    else if (sends())
        while (recv(theirs, room, sizeof room, 0) > 0)
            ;
    else
        send(theirs, "x", 1, 0);
    return nothing;
}

// Until the socket takes no more without waiting: the other one asks for the last of it after a quarter of a second.
static void fill(int socket) {
    for (int round = 0; round < 40; round++) {
        while (send(socket, room, sizeof room, MSG_DONTWAIT) > 0)
            round = 0;
        if (errno != EAGAIN)
            failed("fill");
        usleep(20000);
    }
}

static void prepare(void) {
    int datagrams = is("recvfrom");
    listener = socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (listener < 0)
        failed("socket");
    bound(listener);
    ours = listener;
    if (datagrams) {
        theirs = socket(AF_INET, SOCK_DGRAM, 0);
    } else {
        if (listen(listener, 8))
            failed("listen");
        if (!is("accept")) {
            connected();
            if ((ours = accept(listener, NULL, NULL)) < 0)
                failed("accept");
        }
    }
    if (sends())
        fill(ours);
}

static long waited(void) {
    char some[4];
    struct iovec parts[2] = {{some, 1}, {some + 1, 1}};
    if (is("accept")) return accept(ours, NULL, NULL) < 0 ? -1 : 1;
    if (is("recv")) return recv(ours, some, sizeof some, 0);
    if (is("recvfrom")) return recvfrom(ours, some, sizeof some, 0, NULL, NULL);
    if (is("read")) return read(ours, some, sizeof some);
    // The first one is full, and there is nothing for the second.
    if (is("readv")) return readv(ours, parts, 2);
    if (is("send")) return send(ours, room, sizeof room, 0) > 0 ? 1 : -1;
    if (is("write")) return write(ours, room, sizeof room) > 0 ? 1 : -1;
    return -2;
}

int main(int count, char **words) {
    if (count < 3)
        return 2;
    call = words[1];
    prepare();
    struct sigaction action = {.sa_handler = handler};
    if (count == 4) {
        int milliseconds = atoi(words[2]);
        struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000}, told = {0};
        int option = sends() ? SO_SNDTIMEO : SO_RCVTIMEO;
        socklen_t size = sizeof told;
        if (setsockopt(ours, SOL_SOCKET, option, &time, sizeof time))
            failed("setsockopt");
        if (getsockopt(ours, SOL_SOCKET, option, &told, &size) || told.tv_sec != time.tv_sec || told.tv_usec != time.tv_usec)
            failed("getsockopt");
    } else if (!strcmp(words[2], "signal") || !strcmp(words[2], "restart")) {
        action.sa_flags = words[2][0] == 'r' ? SA_RESTART : 0;
        if (sigaction(SIGTERM, &action, NULL))
            failed("sigaction");
        seconds = 6;
    } else {
        seconds = atoi(words[2]);
    }
    pthread_t thread;
    if (seconds && pthread_create(&thread, NULL, act, NULL))
        return 1;
    puts("waits");
    fflush(stdout);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    long answer = waited();
    int number = errno;
    clock_gettime(CLOCK_MONOTONIC, &after);
    long time = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    printf("%s %ld %s after %ld ms\n", call, answer,
           answer >= 0 ? "ok" : number == EINTR ? "EINTR" : number == EAGAIN ? "EAGAIN" : strerror(number), time);
    fflush(stdout);
    _exit(0);
}
