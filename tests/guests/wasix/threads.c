// Threads: `threads NUMBER` adds up under a mutex, each thread its own number a thousand times, and prints the sum.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, TIMES = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void *add(void *number) {
    for (int n = 0; n < TIMES; n++) {
        pthread_mutex_lock(&lock);
        sum += (long)number;
        pthread_mutex_unlock(&lock);
    }
    return number;
}

int main(int count, char **words) {
    pthread_t threads[MOST];
    long number = count > 1 ? atoi(words[1]) : 8;
    if (number < 1 || number > MOST)
        return 2;
    for (long n = 0; n < number; n++) {
        int error = pthread_create(&threads[n], NULL, add, (void *)(n + 1));
        if (error) {
            printf("thread %ld: %s\n", n, strerror(error));
            return 1;
        }
    }
    for (long n = 0; n < number; n++) {
        void *back;
        if (pthread_join(threads[n], &back) || (long)back != n + 1)
            return 1;
    }
    printf("%ld threads, sum %ld\n", number, sum);
    return 0;
}
