// A pipe by the name `/data/fifo`, of which neither end waits for the other. A line a step.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

int main(void) {
    char text[8];
    struct stat is;
    STEP(open("/data/fifo", O_WRONLY | O_NONBLOCK) < 0 ? -1 : 0);
    int reads = open("/data/fifo", O_RDONLY | O_NONBLOCK);
    STEP(reads < 0 ? -1 : 0);
    STEP(read(reads, text, sizeof text));
    int writes = open("/data/fifo", O_WRONLY | O_NONBLOCK);
    STEP(writes < 0 ? -1 : 0);
    STEP(read(reads, text, sizeof text));
    STEP(write(writes, "three", 5));
    STEP(read(reads, text, 3));
    STEP(read(reads, text, sizeof text));
    STEP(lseek(reads, 0, SEEK_CUR));
    STEP(lseek(writes, 1, SEEK_SET));
    STEP(pread(reads, text, 1, 0));
    STEP(pwrite(writes, "x", 1, 0));
    STEP(ftruncate(writes, 0));
    STEP(fsync(reads));
    STEP(write(reads, "x", 1));
    STEP(read(writes, text, 1));
    STEP(fstat(reads, &is) || is.st_size);
    STEP(close(writes));
    STEP(read(reads, text, sizeof text));
    return 3;
}
