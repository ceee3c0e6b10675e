// What sockets answer, on this machine alone. A line a step.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "steps.h"

static struct sockaddr_in at(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int bound(int file, int port) {
    struct sockaddr_in address = at(port);
    return bind(file, (void *)&address, sizeof address);
}

static int to(int file, int port) {
    struct sockaddr_in address = at(port);
    return connect(file, (void *)&address, sizeof address);
}

static int own_port(int file) {
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    return getsockname(file, (void *)&address, &length) ? -1 : ntohs(address.sin_port);
}

static int peer_port(int file) {
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    return getpeername(file, (void *)&address, &length) ? -1 : ntohs(address.sin_port);
}

static int waits(int file, int flag) {
    return !(fcntl(file, F_GETFL) & flag);
}

static long long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    char text[64] = "";

    // Nobody listens where a datagram goes.
    int closed = socket(AF_INET, SOCK_DGRAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    bound(closed, 0);
    int nobody = own_port(closed);
    close(closed);
    STEP(to(udp, nobody));
    STEP(send(udp, "x", 1, 0));
    usleep(50000);
    STEP(recv(udp, text, 1, 0));
    STEP(write(udp, "x", 1));
    usleep(50000);
    STEP(recv(udp, text, 1, MSG_DONTWAIT));
    STEP(recv(udp, text, 1, MSG_DONTWAIT));
    // Somebody does, then, and another peer after it.
    int one = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    STEP(bound(one, 0));
    STEP(bound(other, 0));
    STEP(to(udp, own_port(one)));
    STEP(send(udp, "one", 3, 0));
    STEP(recv(one, text, sizeof text, 0));
    STEP(to(udp, own_port(other)));
    STEP(send(udp, "other", 5, 0));
    STEP(recv(other, text, sizeof text, 0));
    struct sockaddr_in address = at(own_port(one));
    STEP(sendto(udp, "named", 5, 0, (void *)&address, sizeof address));
    STEP(recv(one, text, sizeof text, 0));
    STEP(peer_port(udp) == own_port(other));
    STEP(peer_port(one));

    // A listener that does not wait, whose connections do.
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    STEP(peer_port(listener));
    STEP(accept(listener, 0, 0));
    STEP(bound(listener, 0));
    STEP(accept(listener, 0, 0));
    STEP(listen(listener, 8));
    STEP(peer_port(listener));
    STEP(fcntl(listener, F_SETFL, O_NONBLOCK));
    STEP(accept(listener, 0, 0));
    STEP(recv(client, text, 1, 0));
    STEP(peer_port(client));
    STEP(to(client, own_port(listener)));
    STEP(to(client, own_port(listener)));
    STEP(peer_port(client) == own_port(listener));
    struct pollfd ready = {listener, POLLIN, 0};
    STEP(poll(&ready, 1, 5000));
    int peer = accept(listener, 0, 0);
    STEP(waits(peer, O_NONBLOCK));
    STEP(peer_port(peer) == own_port(client));
    STEP(accept(client, 0, 0));

    // A time-out of the guest's own.
    struct timeval time = {0, 200000}, got = {0};
    socklen_t length = sizeof got;
    STEP(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    STEP(getsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &got, &length));
    STEP(got.tv_sec * 1000000 + got.tv_usec >= 200000 && got.tv_usec < 210000);
    long long before = milliseconds();
    STEP(recv(peer, text, 1, 0));
    STEP(milliseconds() - before >= 190);
    STEP(send(client, "x", 1, 0));
    STEP(recv(peer, text, 1, 0));
    STEP(send(client, "peeked", 6, 0));
    STEP(poll(&(struct pollfd){peer, POLLIN, 0}, 1, 5000));
    STEP(recv(peer, text, 6, MSG_PEEK));
    STEP(recv(peer, text, 6, MSG_DONTWAIT));
    STEP(recv(peer, text, 6, MSG_DONTWAIT));
    STEP(shutdown(client, SHUT_WR));
    STEP(recv(peer, text, 6, 0));
    STEP(send(client, "x", 1, 0));

    // What cannot be.
    int second = socket(AF_INET, SOCK_STREAM, 0), third = socket(AF_INET, SOCK_STREAM, 0);
    STEP(bound(second, own_port(listener)));
    STEP(bound(third, 0));
    STEP(bound(third, 0));
    struct sockaddr_in elsewhere = at(0);
    elsewhere.sin_addr.s_addr = htonl(0x0affff01);
    STEP(bind(second, (void *)&elsewhere, sizeof elsewhere));
    STEP(shutdown(second, SHUT_WR));
    STEP(send(1, "x", 1, 0));
    STEP(recv(0, text, 1, 0));
    STEP(peer_port(1));
    STEP(peer_port(99));
    STEP(accept(99, 0, 0));
    return 3;
}
