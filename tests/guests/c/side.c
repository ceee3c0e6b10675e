/* A native program beside Wasm ones: what a sidecar, an init container or somebody who debugs a pod does, by a word. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static void on_term(int number) { _exit(128 + number); }

static void size(void) {
    struct winsize size = {0};
    if (ioctl(0, TIOCGWINSZ, &size) == 0) printf("size %d %d\n", size.ws_row, size.ws_col);
    else printf("no size\n");
    fflush(stdout);
}

static void on_size(int number) { (void)number; size(); }

static int copy(int from) {
    char text[65536];
    ssize_t got;
    while ((got = read(from, text, sizeof text)) > 0)
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = write(1, text + done, got - done)) < 0) return fail("write");
    return got < 0 ? fail("read") : 0;
}

/* Processes whose parent has ended before them. */
static int orphans(int count) {
    for (int n = 0; n < count; n++) {
        pid_t child = fork();
        if (child < 0) return fail("fork");
        if (child == 0) {
            if (fork() == 0) usleep(100000);
            _exit(0);
        }
        if (waitpid(child, NULL, 0) < 0) return fail("waitpid");
    }
    puts("orphans");
    return 0;
}

/* One that goes on when its parent has ended. */
static int leave(void) {
    pid_t child = fork();
    if (child < 0) return fail("fork");
    if (child == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    printf("left %d\n", child);
    fflush(stdout);
    return 0;
}

static int talk(const char *port, int serve) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, end = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(end, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!serve) {
        if (connect(end, (void *)&address, sizeof address) != 0) return fail("connect");
        return copy(end);
    }
    if (bind(end, (void *)&address, sizeof address) != 0 || listen(end, 8) != 0) return fail("listen");
    puts("listening");
    fflush(stdout);
    for (;;) {
        int client = accept(end, NULL, NULL);
        if (client < 0) return fail("accept");
        if (write(client, "from the sidecar\n", 17) < 0) return fail("write");
        close(client);
    }
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    const char *with = argc > 2 ? argv[2] : NULL;
    /* As the first process of a namespace it hears nothing that it does not handle. */
    signal(SIGTERM, on_term);
    signal(SIGINT, on_term);
    if (!strcmp(word, "sleep")) {
        printf("ready %d\n", getpid());
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(word, "echo") && with) return puts(with) < 0;
    if (!strcmp(word, "both")) return dprintf(1, "to stdout\n") < 0 || dprintf(2, "to stderr\n") < 0;
    if (!strcmp(word, "exit") && with) return atoi(with);
    if (!strcmp(word, "raise") && with) {
        signal(atoi(with), SIG_DFL);
        return kill(getpid(), atoi(with));
    }
    if (!strcmp(word, "cat")) {
        int from = with ? open(with, O_RDONLY) : 0;
        return from < 0 ? fail(with) : copy(from);
    }
    if (!strcmp(word, "put") && argc > 3) {
        int to = open(with, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (to < 0) return fail(with);
        return write(to, argv[3], strlen(argv[3])) < 0 ? fail(with) : 0;
    }
    if (!strcmp(word, "tty")) {
        printf("terminals %d%d%d\n", isatty(0), isatty(1), isatty(2));
        signal(SIGWINCH, on_size);
        size();
        return copy(0);
    }
    if (!strcmp(word, "orphans") && with) return orphans(atoi(with));
    if (!strcmp(word, "leave")) {
        int code = leave();
        if (with) for (;;) pause();
        return code;
    }
    if (!strcmp(word, "hog") && with) {
        size_t all = (size_t)atoi(with) << 20;
        char *memory = malloc(all);
        if (!memory) return fail("malloc");
        for (size_t at = 0; at < all; at += 4096) memory[at] = 1;
        puts("had it");
        return 0;
    }
    if (!strcmp(word, "serve") && with) return talk(with, 1);
    if (!strcmp(word, "connect") && with) return talk(with, 0);
    if (!strcmp(word, "unlink") && with) return unlink(with) ? fail(with) : 0;
    fprintf(stderr, "side: no such word, or its value is missing: %s\n", word);
    return 125;
}
