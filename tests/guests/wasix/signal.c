// Registers a handler of SIGTERM that ends it with 7. `signal none` registers nothing. `signal raise NUMBER` sends itself that
// signal, and `signal kill NUMBER` by its process's number; `signal leave NUMBER` has a handler of it that ends it with 27.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void on_term(int number) { came = number; }

static void on_leave(int number) {
    (void)number;
    exit(27);
}

static int send(const char *way, int number) {
    if (!strcmp(way, "leave"))
        signal(number, on_leave);
    int sent = !strcmp(way, "kill") ? kill(getpid(), number) : raise(number);
    printf("sent: %d\n", sent);
    return 3;
}

int main(int count, char **words) {
    if (count > 2)
        return send(words[1], atoi(words[2]));
    if (count < 2 || strcmp(words[1], "none"))
        signal(SIGTERM, on_term);
    puts("ready");
    fflush(stdout);
    while (!came)
        usleep(20000);
    printf("signal %d\n", (int)came);
    return 7;
}
