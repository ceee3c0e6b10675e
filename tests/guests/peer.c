/* The guests' native peer: the same programs as an ELF, so that one test can run on runc and on Catamaran.
 * Which program it is says the name it is called by. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static void on_term(int signal) { _exit(128 + signal); }

/* As pid 1 a program without a handler does not see the signal at all. */
static void ready(void) {
    signal(SIGTERM, on_term);
    signal(SIGINT, on_term);
    write(1, "ready\n", 6);
}

static int copy(int from, int to) {
    static char text[65536];
    for (;;) {
        ssize_t got = read(from, text, sizeof text);
        if (got == 0) return 0;
        if (got < 0) return errno;
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(to, text + done, got - done);
            if (put < 0) return errno;
            done += put;
        }
    }
}

static int failed(const char *call) {
    int number = errno;
    dprintf(2, "%s failed\n", call);
    return number;
}

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    if (!strcmp(name, "hello")) {
        puts("hello from native");
    } else if (!strcmp(name, "both")) {
        if (write(1, "to stdout\n", 10) < 0 || write(2, "to stderr\n", 10) < 0) return errno;
    } else if (!strcmp(name, "args")) {
        for (int i = 0; i < argc; i++) puts(argv[i]);
    } else if (!strcmp(name, "env")) {
        for (char **entry = environ; *entry; entry++) puts(*entry);
    } else if (!strcmp(name, "exit")) {
        return argc > 1 ? atoi(argv[1]) : 0;
    } else if (!strcmp(name, "cat")) {
        return copy(0, 1);
    } else if (!strcmp(name, "spin")) {
        ready();
        for (;;) __asm__ volatile("");
    } else if (!strcmp(name, "pause")) {
        /* The first process of a pod's namespace: what is orphaned there comes to it, and is not to stay. */
        signal(SIGCHLD, SIG_IGN);
        signal(SIGTERM, on_term);
        signal(SIGINT, on_term);
        for (;;) pause();
    } else if (!strcmp(name, "sleep")) {
        ready();
        sleep(3600);
    } else if (!strcmp(name, "trap")) {
        write(1, "about to trap\n", 14);
        abort();
    } else if (!strcmp(name, "write") && argc > 2) {
        int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file < 0) return failed("open");
        if (write(file, argv[2], strlen(argv[2])) < 0) return failed("write");
    } else if (!strcmp(name, "read") && argc > 1) {
        int file = open(argv[1], O_RDONLY);
        if (file < 0) return failed("open");
        return copy(file, 1);
    } else {
        dprintf(2, "%s: not a program of this file, or arguments are missing\n", name);
        return 125;
    }
    return 0;
}
