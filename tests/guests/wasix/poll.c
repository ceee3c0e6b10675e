// Waits with poll(2): for a time with nothing to wait for, then for a pipe that a thread writes to.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int ends[2];

static void *say(void *nothing) {
    usleep(50000);
    (void)!write(ends[1], "x", 1);
    return nothing;
}

int main(void) {
    if (pipe(ends)) {
        printf("pipe: %s\n", strerror(errno));
        return 1;
    }
    struct pollfd waiting = {.fd = ends[0], .events = POLLIN};
    printf("nothing: %d\n", poll(&waiting, 1, 50));
    pthread_t thread;
    if (pthread_create(&thread, NULL, say, NULL))
        return 1;
    int found = poll(&waiting, 1, 5000);
    printf("something: %d, in %d\n", found, (waiting.revents & POLLIN) != 0);
    char letter = 0;
    printf("read: %d\n", (int)read(ends[0], &letter, 1));
    pthread_join(thread, NULL);
    return letter != 'x';
}
