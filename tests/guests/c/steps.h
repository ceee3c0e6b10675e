// What guests of this folder share: the name of an error, which is the same with every C library, and a line for a step.
#include <errno.h>
#include <stdio.h>

static inline const char *name(int number) {
#define N(error) if (number == error) return #error;
    N(EACCES) N(EADDRINUSE) N(EADDRNOTAVAIL) N(EAGAIN) N(EBADF) N(EBUSY) N(ECONNREFUSED) N(ECONNRESET) N(EDQUOT) N(EEXIST)
    N(EFBIG) N(EILSEQ) N(EINPROGRESS) N(EINVAL) N(EIO) N(EISCONN) N(EISDIR) N(ELOOP) N(EMFILE) N(EMLINK) N(ENAMETOOLONG)
    N(ENFILE) N(ENODEV) N(ENOENT) N(ENOMEM) N(ENOSPC) N(ENOTCONN) N(ENOTDIR) N(ENOTEMPTY) N(ENOTSOCK) N(ENOTSUP) N(ENXIO)
    N(EOVERFLOW) N(EPERM) N(EPIPE) N(EROFS) N(ESPIPE) N(ETIMEDOUT) N(ETXTBSY) N(EXDEV)
#undef N
    static char text[32];
    snprintf(text, sizeof text, "error %d", number);
    return text;
}

// Prints a call as it is written, and its answer or the name of its error.
static inline void said(const char *step, long long answer) {
    if (answer < 0)
        printf("%s: %s\n", step, name(errno));
    else
        printf("%s: %lld\n", step, answer);
    fflush(stdout);
}
#define STEP(call) (errno = 0, said(#call, (call)))
