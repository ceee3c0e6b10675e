// Has a handler of SIGTERM, and goes on.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void on_term(int number) {
    (void)number;
    came++;
}

int main(void) {
    signal(SIGTERM, on_term);
    puts("ready");
    fflush(stdout);
    for (int told = 0;;) {
        usleep(20000);
        if (told < came) {
            told = came;
            puts("no");
            fflush(stdout);
        }
    }
}
