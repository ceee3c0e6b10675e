// What the kernel's refusals are to a program: `errors STEP...`, a letter and a path each, or two with «|» between them. For
// each a line: the error's name or «ok», and what there is to say of it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

// Writes without end, 64 KiB at once.
static int fill(int file) {
    static char room[65536];
    for (;;)
        if (write(file, room, sizeof room) < 0)
            return -1;
}

// Opens without end.
static int many(const char *path) {
    for (;;)
        if (open(path, O_RDONLY) < 0)
            return -1;
}

static int opened(const char *path, int how) {
    int file = open(path, how, 0644);
    if (file < 0)
        return -1;
    return close(file);
}

static int step(char letter, const char *one, const char *two) {
    struct stat is;
    struct timespec times[2] = {{1000000000, 5}, {1100000000, 6}};
    int file, done;
    switch (letter) {
    case 'r': return opened(one, O_RDONLY);
    case 'o': return opened(one, O_WRONLY);
    case 'w': return opened(one, O_WRONLY | O_CREAT);
    case 'x': return opened(one, O_WRONLY | O_CREAT | O_EXCL);
    case 'd': return mkdir(one, 0755);
    case 'D': return rmdir(one);
    case 'u': return unlink(one);
    case 'm': return rename(one, two);
    case 's': return symlink(one, two);
    case 'l': return link(one, two);
    case 'L': return linkat(AT_FDCWD, one, AT_FDCWD, two, AT_SYMLINK_FOLLOW);
    case 't': return utimensat(AT_FDCWD, one, times, 0);
    case 'T': return utimensat(AT_FDCWD, one, times, AT_SYMLINK_NOFOLLOW);
    case 'S': return stat(one, &is);
    case 'F': // the times of an open file
        if ((file = open(one, O_RDONLY)) < 0)
            return -1;
        done = futimens(file, times);
        close(file);
        return done;
    case 'z': // the size of an open file
        if ((file = open(one, O_RDWR | O_CREAT, 0644)) < 0)
            return -1;
        done = ftruncate(file, strtoll(two, NULL, 10));
        close(file);
        return done;
    case 'f': // writes to a file until there is no room
        if ((file = open(one, O_WRONLY | O_CREAT, 0644)) < 0)
            return -1;
        done = fill(file);
        return done;
    case 'n': return many(one);
    }
    errno = EINVAL;
    return -1;
}

int main(int count, char **words) {
    for (int n = 1; n < count; n++) {
        char *one = words[n] + 1, *two = strchr(one, '|');
        if (two)
            *two++ = 0;
        int done = step(words[n][0], one, two ? two : "");
        // A descriptor that a step has left must not count for the words.
        const char *said = done < 0 ? name(errno) : "ok";
        printf("%c %s\n", words[n][0], said);
        fflush(stdout);
    }
    return 0;
}
