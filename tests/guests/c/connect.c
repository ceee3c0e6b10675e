// Connects to ports of its own machine that nobody listens at, and to one where somebody does. A line each.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include "steps.h"

static const char *answer(int number) {
    return number ? name(number) : "0";
}

static void say(const char *step, int failed) {
    printf("%s: %s\n", step, answer(failed ? errno : 0));
    fflush(stdout);
}

static void pending(const char *step, int socket) {
    int error = -1;
    socklen_t length = sizeof error;
    int failed = getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("%s: %s\n", step, answer(failed ? errno : error));
    fflush(stdout);
}

static struct sockaddr_in at(int port) {
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}

static int listening(int *port) {
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = at(0);
    socklen_t length = sizeof address;
    if (bind(server, (void *)&address, sizeof address) || listen(server, 8)) return -1;
    if (getsockname(server, (void *)&address, &length)) return -1;
    *port = ntohs(address.sin_port);
    return server;
}

static int to(int client, int port) {
    struct sockaddr_in address = at(port);
    return connect(client, (void *)&address, sizeof address);
}

static int later(void) {
    int client = socket(AF_INET, SOCK_STREAM, 0);
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) | O_NONBLOCK);
    return client;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int port = 0, closed = 0;
    close(listening(&closed));

    int client = socket(AF_INET, SOCK_STREAM, 0);
    say("connect", to(client, closed));
    pending("its error", client);
    say("again", to(client, closed));
    int server = listening(&port);
    say("the same to another", to(client, port));
    close(client);

    // With an address of its own.
    client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = at(0);
    say("bind", bind(client, (void *)&any, sizeof any));
    say("from it", to(client, closed));
    close(client);

    client = later();
    int failed = to(client, closed);
    printf("at once: %s\n", answer(failed ? errno : 0));
    struct pollfd ready = {client, POLLOUT, 0};
    printf("ready: %d\n", poll(&ready, 1, 5000));
    pending("its error", client);
    pending("once more", client);
    close(client);

    client = later();
    failed = to(client, port);
    printf("to another: %s\n", failed && errno == EINPROGRESS ? "0" : answer(failed ? errno : 0));
    ready = (struct pollfd){client, POLLOUT, 0};
    printf("ready: %d\n", poll(&ready, 1, 5000));
    pending("its error", client);
    int peer = accept(server, 0, 0);
    close(peer);
    peer = accept(server, 0, 0);
    say("accept", peer < 0);
    say("write", write(client, "x", 1) != 1);
    char byte = 0;
    say("read", read(peer, &byte, 1) != 1 || byte != 'x');
    return 0;
}
