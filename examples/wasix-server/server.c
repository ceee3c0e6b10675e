// A web server in plain C, POSIX sockets and threads: each connection is answered by a thread of its own.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int served;

static void *serve(void *given) {
    int connection = (int)(long)given;
    char text[2048];
    size_t length = 0;
    ssize_t got = 1;
    // To the end of the request's head; there is no body to wait for.
    for (text[0] = 0; !strstr(text, "\r\n\r\n") && length < sizeof text - 1 && got > 0; text[length] = 0)
        if ((got = read(connection, text + length, sizeof text - 1 - length)) > 0)
            length += (size_t)got;
    if (got > 0) {
        char body[64];
        int size = snprintf(body, sizeof body, "Ahoy, you are number %d.\n", ++served);
        int all = snprintf(text, sizeof text,
                           "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                           size, body);
        for (ssize_t done = 0, wrote; done < all; done += wrote)
            if ((wrote = write(connection, text + done, (size_t)(all - done))) < 0)
                break;
    }
    close(connection);
    return NULL;
}

int main(int count, char **words) {
    int port = count > 1 ? atoi(words[1]) : 8080, listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    // Else the port is taken for a minute after a restart.
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("cannot listen");
        return 1;
    }
    printf("listening on port %d\n", port);
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            perror("accept");
            return 1;
        }
        pthread_t thread;
        // Threads are bounded: beyond the bound this one answers by itself, and the next connection waits.
        if (pthread_create(&thread, NULL, serve, (void *)(long)connection))
            serve((void *)(long)connection);
        else
            pthread_detach(thread);
    }
}
