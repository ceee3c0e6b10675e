// Fills logs: `talk lines COUNT`, `talk both COUNT`, `talk long LENGTH`, `talk open TEXT`, `talk on`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// At once: what is said is not to wait in a buffer for what comes next.
static void say(int stream, const char *text) {
    if (write(stream, text, strlen(text)) < 0)
        exit(1);
}

static void number(int stream, int number) {
    char line[32];
    snprintf(line, sizeof line, "line %d\n", number);
    say(stream, line);
}

int main(int count, char **words) {
    const char *command = count > 1 ? words[1] : "", *text = count > 2 ? words[2] : "";
    if (!strcmp(command, "lines"))
        for (int n = 0; n < atoi(text); n++)
            number(1, n);
    else if (!strcmp(command, "both"))
        for (int n = 0; n < atoi(text); n++)
            number(1 + n % 2, n);
    else if (!strcmp(command, "long")) {
        for (int n = 0; n < atoi(text); n++)
            putchar('a' + n % 26);
        puts("\nend");
    } else if (!strcmp(command, "open"))
        say(1, text);
    else if (!strcmp(command, "on"))
        for (int n = 0;; n++) {
            number(1, n);
            usleep(2000);
        }
    else
        return 2;
    return 0;
}
