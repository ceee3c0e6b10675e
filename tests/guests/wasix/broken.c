// Writes to a pipe that nobody reads any more: `broken default|ignored|handled`, as it does with SIGPIPE.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void handler(int number) {
    printf("signal %d\n", number);
}

int main(int count, char **words) {
    int ends[2];
    const char *how = count > 1 ? words[1] : "default";
    if (!strcmp(how, "ignored"))
        signal(SIGPIPE, SIG_IGN);
    if (!strcmp(how, "handled"))
        signal(SIGPIPE, handler);
    if (pipe(ends) || close(ends[0]))
        return 1;
    if (write(ends[1], "x", 1) < 0 && errno == EPIPE)
        puts("EPIPE");
    return 3;
}
