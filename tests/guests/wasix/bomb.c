// A bomb of threads: makes them until it is refused, says how many there were and why there are no more, lets them all
// go, and shows that it lives on. `bomb hold` keeps them until it is ended.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// More than any bound that is worth the name, so that a missing one shows and ends.
enum { MOST = 20000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static int free_to_go;

static void *wait(void *nothing) {
    pthread_mutex_lock(&lock);
    while (!free_to_go)
        pthread_cond_wait(&over, &lock);
    pthread_mutex_unlock(&lock);
    return nothing;
}

int main(int count, char **words) {
    static pthread_t threads[MOST];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    int made = 0, error = 0;
    while (made < MOST && !(error = pthread_create(&threads[made], &small, wait, NULL)))
        made++;
    printf("%d threads, then errno %d\n", made, error);
    fflush(stdout);
    if (count > 1 && !strcmp(words[1], "hold"))
        for (;;)
            sleep(1);
    pthread_mutex_lock(&lock);
    free_to_go = 1;
    pthread_cond_broadcast(&over);
    pthread_mutex_unlock(&lock);
    for (int n = 0; n < made; n++)
        pthread_join(threads[n], NULL);
    puts("still here");
    return 0;
}
