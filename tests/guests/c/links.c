// Does with files what its arguments say, one step each, and prints what came of it: a text, or the error's name.
// For wasi-libc and as a native program, whose answers are held against each other.
//
//   rPATH         reads              nPATH       reads, a link at the end is not followed
//   wPATH=TEXT    makes or replaces  xPATH       makes, if it is not there
//   DPATH         opens a folder     LPATH       the folder's names
//   sPATH         stat               lPATH       lstat
//   kPATH         the link's text    SPATH=TEXT  makes a link to TEXT
//   mPATH=PATH    renames            hPATH=PATH  makes a hard link
//   dPATH         makes a folder     RPATH       removes it             uPATH  removes a file
//   tPATH         sets its times, and a link's own: TPATH
//   oPATH=PATH    reads the second below the first, which is opened
//   fPATH         writes to it until it is full
//   EPATH         opens it until there are no more descriptors
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { int number; const char *name; } NAMES[] = {
    {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EBADF, "EBADF"}, {EBUSY, "EBUSY"}, {EEXIST, "EEXIST"},
    {EINVAL, "EINVAL"}, {EIO, "EIO"}, {EISDIR, "EISDIR"}, {ELOOP, "ELOOP"}, {EMFILE, "EMFILE"},
    {ENAMETOOLONG, "ENAMETOOLONG"}, {ENOENT, "ENOENT"}, {ENOSPC, "ENOSPC"}, {ENOTDIR, "ENOTDIR"},
    {ENOTEMPTY, "ENOTEMPTY"}, {ENOTSUP, "ENOTSUP"}, {ENXIO, "ENXIO"}, {EPERM, "EPERM"}, {EROFS, "EROFS"},
    {EXDEV, "EXDEV"},
};

static void failed(void) {
    for (size_t n = 0; n < sizeof NAMES / sizeof *NAMES; n++)
        if (NAMES[n].number == errno) {
            puts(NAMES[n].name);
            return;
        }
    printf("error %d, %s\n", errno, strerror(errno));
}

static void done(int result) {
    if (result < 0)
        failed();
    else
        puts("ok");
}

static void show(int file) {
    char text[4096];
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
    if (length < 0)
        failed();
    else
        printf("\"%.*s\"\n", (int)length, text);
    if (file >= 0)
        close(file);
}

static void put(int file, const char *text) {
    int result = file < 0 || write(file, text, strlen(text)) < 0 ? -1 : 0;
    done(result);
    if (file >= 0)
        close(file);
}

static void tell(int result, const struct stat *at) {
    if (result < 0)
        return failed();
    const char *kind = S_ISDIR(at->st_mode) ? "folder" : S_ISLNK(at->st_mode) ? "link" : S_ISREG(at->st_mode) ? "file" : "other";
    if (S_ISDIR(at->st_mode))
        puts(kind);
    else
        printf("%s %d\n", kind, (int)at->st_size);
}

static void list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder)
        return failed();
    int count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    printf("%d names\n", count);
}

static void times(const char *path, int flags) {
    const struct timespec both[2] = {{1000000000, 0}, {1000000001, 0}};
    struct stat at;
    if (utimensat(AT_FDCWD, path, both, flags) < 0 || fstatat(AT_FDCWD, path, &at, flags) < 0)
        failed();
    else
        printf("at %lld\n", (long long)at.st_mtime);
}

static void fill(const char *path) {
    static char page[4096];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (int n = 0; file >= 0 && n < 10000; n++)
        if (write(file, page, sizeof page) < 0)
            break;
    failed();
    close(file);
    unlink(path);
}

static void exhaust(const char *path) {
    int files[4096], count = 0;
    while (count < 4096 && (files[count] = open(path, O_RDONLY)) >= 0)
        count++;
    int reason = errno;
    while (count)
        close(files[--count]);
    errno = reason;
    failed();
}

int main(int count, char **words) {
    for (int n = 1; n < count; n++) {
        char *one = strdup(words[n] + 1), *two = strchr(one, '=');
        if (two)
            *two++ = 0;
        struct stat at;
        char text[4096];
        printf("%s: ", words[n]);
        switch (*words[n]) {
        case 'r': show(open(one, O_RDONLY)); break;
        case 'n': show(open(one, O_RDONLY | O_NOFOLLOW)); break;
        case 'w': put(open(one, O_WRONLY | O_CREAT | O_TRUNC, 0644), two); break;
        case 'x': put(open(one, O_WRONLY | O_CREAT | O_EXCL, 0644), ""); break;
        case 'D': { int file = open(one, O_RDONLY | O_DIRECTORY); done(file); close(file); break; }
        case 'L': list(one); break;
        case 's': tell(stat(one, &at), &at); break;
        case 'l': tell(lstat(one, &at), &at); break;
        case 'k': { ssize_t length = readlink(one, text, sizeof text);
            if (length < 0) failed(); else printf("-> %.*s\n", (int)length, text); break; }
        case 'S': done(symlink(two, one)); break;
        case 'm': done(rename(one, two)); break;
        case 'h': done(link(one, two)); break;
        case 'd': done(mkdir(one, 0755)); break;
        case 'R': done(rmdir(one)); break;
        case 'u': done(unlink(one)); break;
        case 't': times(one, 0); break;
        case 'T': times(one, AT_SYMLINK_NOFOLLOW); break;
        case 'o': { int folder = open(one, O_RDONLY | O_DIRECTORY); show(folder < 0 ? -1 : openat(folder, two, O_RDONLY)); close(folder); break; }
        case 'f': fill(one); break;
        case 'E': exhaust(one); break;
        default: puts("no such step");
        }
    }
    return 0;
}
