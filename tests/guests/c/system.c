// Work that is calls of the system, on the program's own file: `system clock|random|stat|list|open|read ROUNDS`.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timed.h"

static const char *own;

// What a call that must succeed answered.
static uint32_t good(long long answer) {
    if (answer < 0) {
        perror(own);
        exit(3);
    }
    return (uint32_t)answer;
}

static uint32_t clocks(int rounds) {
    struct timespec time;
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++)
        sum += good(clock_gettime(CLOCK_MONOTONIC, &time)) + (time.tv_nsec < 1000000000);
    return sum;
}

static uint32_t randoms(int rounds) {
    uint8_t bytes[16];
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++)
        sum += good(getentropy(bytes, sizeof bytes)) + 1;
    return sum;
}

static uint32_t stats(int rounds) {
    struct stat found;
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++)
        sum += good(stat(own, &found)) + (found.st_size > 0);
    return sum;
}

// The root, in which the program's own file lies.
static uint32_t lists(int rounds) {
    uint32_t found = 0;
    for (int round = 0; round < rounds; round++) {
        DIR *folder = opendir("/");
        good(folder ? 0 : -1);
        for (struct dirent *entry; (entry = readdir(folder));)
            found += !strcmp(entry->d_name, own + 1);
        good(closedir(folder));
    }
    return found;
}

// A small file, from open to close.
static uint32_t opens(int rounds) {
    char bytes[100];
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++) {
        int file = (int)good(open(own, O_RDONLY));
        sum += good(read(file, bytes, sizeof bytes));
        good(close(file));
    }
    return sum;
}

static uint32_t reads(int rounds) {
    char bytes[64];
    uint32_t sum = 0;
    int file = (int)good(open(own, O_RDONLY));
    for (int round = 0; round < rounds; round++)
        sum += good(pread(file, bytes, sizeof bytes, round % 64 * 64));
    return sum;
}

int main(int count, char **words) {
    own = words[0];
    const struct work all[] = {{"clock", clocks}, {"random", randoms}, {"stat", stats}, {"list", lists},
                               {"open", opens},   {"read", reads},     {NULL, NULL}};
    return timed(all, count, words);
}
