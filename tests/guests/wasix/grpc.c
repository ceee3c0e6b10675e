// A gRPC server of one service, grpc.health.v1.Health (gRPC's «Health Checking Protocol»): `grpc PORT [STATUS]` answers every Check
// with STATUS, 1 (SERVING) unless told otherwise, one connection after the other. HTTP/2 (RFC 9113) as far as that needs it: what
// is asked is not looked at, and the headers of the answer are written without compression.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATA, HEADERS, SETTINGS = 4, PING = 6 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { PREFACE = 24, HEAD = 9, LONGEST = 16384 };

static int take(int connection, unsigned char *to, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = read(connection, to + done, length - done);
        if (got <= 0)
            return 0;
        done += (size_t)got;
    }
    return 1;
}

static void send_frame(int connection, int type, int flags, const unsigned char *stream, const void *body, int length) {
    unsigned char frame[HEAD + 64] = {0, 0, (unsigned char)length, (unsigned char)type, (unsigned char)flags};
    memcpy(frame + 5, stream, 4);
    memcpy(frame + HEAD, body, (size_t)length);
    if (write(connection, frame, (size_t)(HEAD + length)) < 0)
        perror("write");
}

static void answer(int connection, const unsigned char *stream, char status) {
    // :status 200, content-type; then a message of one field, the status; then grpc-status 0.
    const char message[] = {0, 0, 0, 0, 2, 8, status};
    send_frame(connection, HEADERS, END_HEADERS, stream, "\x88\x0f\x10\x10" "application/grpc", 20);
    send_frame(connection, DATA, 0, stream, message, sizeof message);
    send_frame(connection, HEADERS, END_HEADERS | END_STREAM, stream, "\0\x0bgrpc-status\x01" "0", 15);
}

static void serve(int connection, char status) {
    static unsigned char body[LONGEST];
    unsigned char head[HEAD];
    if (!take(connection, body, PREFACE))
        return;
    send_frame(connection, SETTINGS, 0, (const unsigned char *)"\0\0\0", "", 0);
    while (take(connection, head, HEAD)) {
        int length = head[0] << 16 | head[1] << 8 | head[2];
        if (length > LONGEST || !take(connection, body, (size_t)length))
            return;
        if (head[3] == SETTINGS && !(head[4] & ACK))
            send_frame(connection, SETTINGS, ACK, head + 5, "", 0);
        else if (head[3] == PING && !(head[4] & ACK))
            send_frame(connection, PING, ACK, head + 5, body, length);
        else if ((head[3] == DATA || head[3] == HEADERS) && head[4] & END_STREAM)
            answer(connection, head + 5, status);
    }
}

int main(int count, char **words) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 7000)};
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("cannot listen");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            perror("accept");
            return 1;
        }
        serve(connection, count > 2 ? (char)atoi(words[2]) : 1);
        close(connection);
    }
}
