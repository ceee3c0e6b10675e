// Room that is set aside for a file before it is written. A line a step.
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

// Answers with the number of the error.
static long long allocate(int file, off_t from, off_t length) {
    int error = posix_fallocate(file, from, length);
    return error ? (errno = error, -1) : 0;
}

static long long size(int file) {
    struct stat is;
    return fstat(file, &is) ? -1 : is.st_size;
}

int main(void) {
    char text[8] = "";
    int both, reads, folder;
    if (chdir("/data"))
        return 1;
    STEP((both = open("file", O_RDWR | O_CREAT | O_TRUNC, 0666)) < 0 ? -1 : 0);
    STEP(write(both, "text", 4));
    STEP(allocate(both, 0, 4000));
    STEP(size(both));
    STEP(allocate(both, 3000, 2000));
    STEP(size(both));
    STEP(allocate(both, 0, 10));
    STEP(size(both));
    STEP(pread(both, text, sizeof text, 0));
    STEP(memcmp(text, "text\0\0\0\0", 8));
    STEP(lseek(both, 0, SEEK_CUR));
    STEP(allocate(both, 0, 0));
    STEP(allocate(both, -1, 10));
    STEP(allocate(both, 0, -1));
    STEP((reads = open("file", O_RDONLY)) < 0 ? -1 : 0);
    STEP(allocate(reads, 0, 10));
    STEP((folder = open(".", O_RDONLY | O_DIRECTORY)) < 0 ? -1 : 0);
    STEP(allocate(folder, 0, 10));
    STEP(allocate(99, 0, 10));
    STEP(allocate(1, 0, 10));
    return 3;
}
