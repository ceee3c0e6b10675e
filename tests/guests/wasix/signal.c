// Registers a handler of SIGTERM that ends it with 7. `signal none` registers nothing.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void on_term(int number) { came = number; }

int main(int count, char **words) {
    if (count < 2 || strcmp(words[1], "none"))
        signal(SIGTERM, on_term);
    puts("ready");
    fflush(stdout);
    while (!came)
        usleep(20000);
    printf("signal %d\n", (int)came);
    return 7;
}
