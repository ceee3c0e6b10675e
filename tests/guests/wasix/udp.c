// Sends one datagram to itself: `udp PORT`.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int failed(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 5353)}, from;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof from;
    char text[64] = "";
    int receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
    if (receiver < 0 || sender < 0)
        return failed("socket");
    if (bind(receiver, (struct sockaddr *)&address, sizeof address))
        return failed("bind");
    if (sendto(sender, "datagram", 8, 0, (struct sockaddr *)&address, sizeof address) != 8)
        return failed("sendto");
    if (recvfrom(receiver, text, sizeof text - 1, 0, (struct sockaddr *)&from, &length) != 8)
        return failed("recvfrom");
    printf("%s from %s\n", text, inet_ntoa(from.sin_addr));
    return 0;
}
