// Reads and writes with several buffers at once: each call fills or takes all of them. A line a step.
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "steps.h"

static char one[4], two[6], three[8];

// Their text after a read of that many bytes, with a dot for each byte that was left alone.
static void show(void) {
    printf("[%.4s|%.6s|%.8s]\n", one, two, three);
}

static struct iovec *buffers(void) {
    static struct iovec all[4];
    memset(one, '.', sizeof one);
    memset(two, '.', sizeof two);
    memset(three, '.', sizeof three);
    all[0] = (struct iovec){one, sizeof one};
    all[1] = (struct iovec){NULL, 0};
    all[2] = (struct iovec){two, sizeof two};
    all[3] = (struct iovec){three, sizeof three};
    return all;
}

int main(void) {
    struct iovec words[4] = {{"first", 5}, {"", 0}, {"second", 6}, {"third", 5}};
    char text[64] = "";
    int file, other;
    if (chdir("/data"))
        return 1;
    STEP((file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0666)) < 0 ? -1 : 0);
    STEP(writev(file, words, 4));
    STEP(lseek(file, 0, SEEK_CUR));
    STEP(pwritev(file, words, 4, 20));
    STEP(lseek(file, 0, SEEK_CUR));
    STEP(pread(file, text, sizeof text, 0));
    for (char *byte = text; byte < text + sizeof text; byte++)
        printf("%c", *byte ? *byte : '.');
    puts("");
    STEP(lseek(file, 0, SEEK_SET));
    STEP(readv(file, buffers(), 4));
    show();
    STEP(readv(file, buffers(), 4));
    show();
    STEP(readv(file, buffers(), 4));
    show();
    STEP(readv(file, buffers(), 4));
    STEP(preadv(file, buffers(), 4, 3));
    show();
    STEP(preadv(file, buffers(), 4, 30));
    show();
    STEP(preadv(file, buffers(), 4, 100));
    STEP(preadv(file, buffers(), 2, 0));
    show();
    STEP(preadv(file, buffers() + 1, 1, 0));
    STEP(lseek(file, 0, SEEK_CUR));
    STEP(pread(file, text, 1, -1));
    // More than a pipe or a buffer of the host's holds.
    static char large[300000];
    STEP(pwrite(file, large, sizeof large, 50));
    STEP(pread(file, large, sizeof large, 40));
    STEP(lseek(file, 10, SEEK_SET));
    STEP(read(file, large, sizeof large));
    STEP(write(file, large, sizeof large));
    STEP((other = open("file", O_WRONLY | O_APPEND)) < 0 ? -1 : 0);
    STEP(writev(other, words, 4));
    STEP(lseek(file, 0, SEEK_END));
    STEP(readv(other, buffers(), 4));
    STEP(preadv(other, buffers(), 4, 0));
    STEP(preadv(99, buffers(), 4, 0));
    STEP(writev(99, words, 4));
    fflush(stdout);
    STEP(writev(1, words, 4));
    puts("");
    return 3;
}
