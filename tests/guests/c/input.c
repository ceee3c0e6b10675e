// Standard input without waiting: takes no read that finds nothing, waits for it by poll(2), waits for it in a read again, and
// reads its end. It says «polls» and «reads» when it waits for a line.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(const char *call, long answer) {
    if (answer < 0)
        printf("%s: %s\n", call, errno == EAGAIN ? "EAGAIN" : strerror(errno));
    else
        printf("%s: %ld\n", call, answer);
    fflush(stdout);
}

#define SAYS(call) (errno = 0, say(#call, (long)(call)))

int main(void) {
    char text[16];
    struct pollfd input = {.fd = 0, .events = POLLIN};
    int flags = fcntl(0, F_GETFL);
    SAYS(flags & O_NONBLOCK ? 1 : 0);
    SAYS(fcntl(0, F_SETFL, flags | O_NONBLOCK));
    SAYS(fcntl(0, F_GETFL) & O_NONBLOCK ? 1 : 0);
    SAYS(read(0, text, sizeof text));
    SAYS(poll(&input, 1, 50));
    SAYS(read(0, text, sizeof text));
    puts("polls");
    fflush(stdout);
    SAYS(poll(&input, 1, -1));
    SAYS(input.revents & POLLIN ? 1 : 0);
    SAYS(read(0, text, sizeof text));
    SAYS(read(0, text, sizeof text));
    SAYS(fcntl(0, F_SETFL, flags & ~O_NONBLOCK));
    SAYS(fcntl(0, F_GETFL) & O_NONBLOCK ? 1 : 0);
    puts("reads");
    fflush(stdout);
    SAYS(read(0, text, sizeof text));
    SAYS(fcntl(0, F_SETFL, flags | O_NONBLOCK));
    puts("ends");
    fflush(stdout);
    SAYS(poll(&input, 1, -1));
    SAYS(read(0, text, sizeof text));
    return 3;
}
