// `resolve NAME...` prints each name's addresses, or why there are none.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    int missing = 0;
    for (int n = 1; n < count; n++) {
        struct addrinfo *found, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
        int error = getaddrinfo(words[n], NULL, &hints, &found);
        if (error) {
            printf("%s: %s\n", words[n], gai_strerror(error));
            missing = 1;
            continue;
        }
        for (struct addrinfo *one = found; one; one = one->ai_next) {
            char text[INET_ADDRSTRLEN];
            struct sockaddr_in *address = (struct sockaddr_in *)one->ai_addr;
            printf("%s: %s\n", words[n], inet_ntop(AF_INET, &address->sin_addr, text, sizeof text));
        }
        freeaddrinfo(found);
    }
    return missing;
}
