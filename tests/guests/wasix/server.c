// A TCP server: `server PORT` takes a line from each connection and sends it back, each connection in a thread of its own.
// The line `stop` ends it, with how many connections it served.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_long served;

static int failed(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    return 1;
}

static void *serve(void *given) {
    int connection = (int)(long)given;
    char line[256];
    size_t length = 0;
    ssize_t got = 1;
    while (length < sizeof line && !memchr(line, '\n', length) && got > 0)
        if ((got = read(connection, line + length, sizeof line - length)) > 0)
            length += (size_t)got;
    if (length >= 5 && !memcmp(line, "stop\n", 5)) {
        printf("served %ld\n", (long)served);
        fflush(stdout);
        exit(0);
    }
    // Counted before it is answered: who has all answers asks for the number.
    served++;
    for (size_t done = 0; done < length && got > 0; done += (size_t)got)
        got = write(connection, line + done, length - done);
    close(connection);
    return NULL;
}

int main(int count, char **words) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        return failed("socket");
    // Else the port is taken for a minute after the last server's end.
    int yes = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes))
        return failed("setsockopt");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 8080)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address))
        return failed("bind");
    if (listen(listener, 128))
        return failed("listen");
    puts("listening");
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            return failed("accept");
        pthread_t thread;
        // At the bound on threads this one serves the connection itself: others wait for it and none is lost.
        if (pthread_create(&thread, NULL, serve, (void *)(long)connection))
            serve((void *)(long)connection);
        else
            pthread_detach(thread);
    }
}
