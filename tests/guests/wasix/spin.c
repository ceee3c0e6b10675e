// An endless loop that makes no call, in as many threads as asked: `spin [NUMBER]`.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static volatile unsigned long turns;

static void *spin(void *nothing) {
    for (;;)
        turns++;
    return nothing;
}

int main(int count, char **words) {
    for (int n = count > 1 ? atoi(words[1]) : 1; n > 1; n--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, spin, NULL))
            return 1;
    }
    puts("ready");
    fflush(stdout);
    spin(NULL);
}
