// A pipe by the name `/data/fifo`, of which neither end waits for the other. A line a step.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *name(int number) {
#define N(error) if (number == error) return #error;
    N(EACCES) N(EAGAIN) N(EBADF) N(EINVAL) N(EIO) N(EISDIR) N(ENXIO) N(ESPIPE)
#undef N
    return strerror(number);
}

static void said(const char *step, long long answer) {
    if (answer < 0)
        printf("%s: %s\n", step, name(errno));
    else
        printf("%s: %lld\n", step, answer);
    fflush(stdout);
}
#define STEP(call) (errno = 0, said(#call, (call)))

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
