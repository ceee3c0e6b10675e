// What few files are: a folder that is brought to the disk, a name that is no text, a pipe with a name, a file on a read-only
// mount that is to be emptied. `unusual WORD` does what the word says in `/data`, and tells what came of each call.
//   sync         folders, files and streams are brought to the disk
//   foreign      names that are not UTF-8
//   listed       the names of `mixed`
//   fifo         `fifo` without waiting; `fifo-waits` opens it as others do
//   emptied      files of `/ro` are opened with O_TRUNC
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

// For a number that only says that the call went well.
#define S(call) (errno = 0, said(#call, (call) < 0 ? -1 : 0))

static int make(const char *path) {
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
    return file < 0 || write(file, "text", 4) != 4 ? -1 : close(file);
}

static long size(const char *path) {
    struct stat is;
    return stat(path, &is) < 0 ? -1 : is.st_size;
}

static void sync_all(void) {
    int folder, root, file;
    S(mkdir("folder", 0755));
    S(folder = open("folder", O_RDONLY | O_DIRECTORY));
    S(fsync(folder));
    S(fdatasync(folder));
    S(root = open("/", O_RDONLY));
    S(fsync(root));
    S(file = openat(folder, "new", O_CREAT | O_WRONLY, 0644));
    STEP(write(file, "text", 4));
    S(fsync(file));
    S(fdatasync(file));
    S(close(file));
    S(renameat(folder, "new", folder, "file"));
    S(fsync(folder));
    S(file = openat(folder, "file", O_WRONLY));
    STEP(write(file, "more than that", 14));
    STEP(size("folder/file"));
    S(file = open("folder/file", O_RDONLY));
    S(fsync(file));
    S(fsync(99));
    S(close(folder));
    S(fsync(folder));
    S(fsync(1));
    S(file = open("folder/synced", O_CREAT | O_WRONLY | O_SYNC, 0644));
    STEP(write(file, "text", 4));
    S(close(file));
    S(file = open("folder/synced", O_WRONLY | O_DSYNC | O_APPEND));
    STEP(write(file, "more", 4));
    STEP(size("folder/synced"));
}

static int compare(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void list(const char *path) {
    char *names[64];
    int number = 0;
    DIR *folder = opendir(path);
    if (!folder) {
        said("opendir", -1);
        return;
    }
    errno = 0;
    for (struct dirent *entry; number < 64 && (entry = readdir(folder)); errno = 0)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            names[number++] = strdup(entry->d_name);
    said("readdir", errno ? -1 : number);
    closedir(folder);
    qsort(names, number, sizeof *names, compare);
    for (int n = 0; n < number; n++) {
        printf(" ");
        for (unsigned char *byte = (unsigned char *)names[n]; *byte; byte++)
            printf(*byte < 127 ? "%c" : "\\%02x", *byte);
        printf("\n");
    }
}

static void foreign(void) {
    char text[16] = "";
    struct stat is;
    const struct timespec times[2] = {{1000000000, 0}, {1000000001, 0}};
    int folder, file;
    S(make("a\xff"));
    S(make("a\xff"));
    STEP(size("a\xff"));
    S(size("b\xff"));
    S(stat("a\xff/", &is));
    S(file = open("a\xff", O_RDWR));
    STEP(read(file, text, sizeof text));
    STEP(lseek(file, 2, SEEK_SET));
    STEP(write(file, "other", 5));
    S(fstat(file, &is));
    STEP(is.st_size);
    S(close(file));
    S(file = open("a\xff", O_WRONLY | O_APPEND));
    STEP(write(file, "end", 3));
    S(close(file));
    STEP(size("a\xff"));
    S(utimensat(AT_FDCWD, "a\xff", times, 0));
    STEP(stat("a\xff", &is) < 0 ? -1 : (long)is.st_mtime);
    S(link("a\xff", "\xfehard"));
    S(symlink("a\xff", "link"));
    S(symlink("a\xff", "\xff-link"));
    STEP(readlink("link", text, sizeof text));
    STEP(readlink("\xff-link", text, sizeof text));
    STEP((unsigned char)text[1]);
    STEP(size("link"));
    STEP(size("\xff-link"));
    STEP(lstat("\xff-link", &is) < 0 ? -1 : S_ISLNK(is.st_mode));
    S(file = open("\xff-link", O_RDONLY | O_NOFOLLOW));
    S(mkdir("d\xc3(", 0755));
    S(make("d\xc3(/file"));
    S(rename("d\xc3(", "e\x80"));
    S(folder = open("e\x80", O_RDONLY | O_DIRECTORY));
    S(file = openat(folder, "file", O_RDONLY));
    STEP(read(file, text, sizeof text));
    S(file = openat(folder, "\xff\xff", O_CREAT | O_WRONLY, 0644));
    STEP(write(file, "of the folder", 13));
    STEP(fstatat(folder, "\xff\xff", &is, 0) < 0 ? -1 : is.st_size);
    S(fsync(folder));
    S(symlinkat("\xff\xff", folder, "in-it"));
    STEP(fstatat(folder, "in-it", &is, 0) < 0 ? -1 : is.st_size);
    S(symlink("e\x80", "to-folder"));
    STEP(size("to-folder/file"));
    S(make("caf\xc3\xa9"));
    list(".");
    list("e\x80");
    S(rmdir("e\x80"));
    S(unlinkat(folder, "in-it", 0));
    S(unlinkat(folder, "\xff\xff", 0));
    S(unlink("to-folder/file"));
    S(unlink("e\x80"));
    S(rmdir("a\xff"));
    S(rmdir("e\x80/"));
    S(unlink("a\xff"));
    S(unlink("\xff-link"));
    S(unlink("\xfehard"));
    S(unlink("b\xff"));
    S(unlink("link"));
    S(unlink("to-folder"));
    S(unlink("caf\xc3\xa9"));
    list(".");
}

// Whether it is ready, at once.
static long ready(int file, short events) {
    struct pollfd one = {.fd = file, .events = events};
    int count = poll(&one, 1, 0);
    return count < 0 ? -1 : count && one.revents & events;
}

// Writes until there is no room.
static long fill(int file) {
    static char room[4096];
    for (;;)
        if (write(file, room, sizeof room) < 0)
            return -1;
}

static void fifo(void) {
    char text[16];
    int reader, writer, flags;
    S(writer = open("fifo", O_WRONLY | O_NONBLOCK));
    S(reader = open("fifo", O_RDONLY | O_NONBLOCK));
    STEP(read(reader, text, sizeof text));
    STEP(fcntl(reader, F_GETFL) & O_NONBLOCK ? 1 : 0);
    S(writer = open("fifo", O_WRONLY | O_NONBLOCK));
    STEP(read(reader, text, sizeof text));
    STEP(ready(reader, POLLIN));
    STEP(ready(writer, POLLOUT));
    STEP(write(writer, "some", 4));
    STEP(ready(reader, POLLIN));
    STEP(read(reader, text, sizeof text));
    STEP(read(reader, text, sizeof text));
    STEP(lseek(reader, 0, SEEK_SET));
    struct pollfd waits = {.fd = reader, .events = POLLIN};
    STEP(poll(&waits, 1, 50));
    STEP(fill(writer));
    STEP(ready(writer, POLLOUT));
    STEP(read(reader, text, sizeof text));
    S(flags = fcntl(reader, F_GETFL));
    S(fcntl(reader, F_SETFL, flags & ~O_NONBLOCK));
    STEP(fcntl(reader, F_GETFL) & O_NONBLOCK ? 1 : 0);
    S(fcntl(reader, F_SETFL, flags | O_NONBLOCK));
    STEP(fcntl(reader, F_GETFL) & O_NONBLOCK ? 1 : 0);
    while (read(reader, text, sizeof text) > 0) {}
    STEP(read(reader, text, sizeof text));
    S(close(writer));
    STEP(read(reader, text, sizeof text));
    S(close(reader));
    S(writer = open("fifo", O_WRONLY | O_NONBLOCK));
    S(writer = open("plain", O_RDWR | O_NONBLOCK | O_CREAT, 0644));
    STEP(write(writer, "text", 4));
    S(reader = open(".", O_RDONLY | O_NONBLOCK));
    S(close(reader));
    S(reader = open(".", O_RDONLY | O_NONBLOCK | O_CREAT, 0644));
    S(reader = open("missing", O_RDONLY | O_NONBLOCK));
}

static void emptied(void) {
    int folder;
    S(open("/ro/file", O_WRONLY | O_TRUNC));
    S(open("/ro/file", O_RDWR | O_TRUNC));
    S(open("/ro/file", O_RDONLY | O_TRUNC));
    S(open("/ro/file", O_WRONLY | O_TRUNC | O_CREAT, 0644));
    S(open("/ro/new", O_WRONLY | O_TRUNC | O_CREAT, 0644));
    S(open("/ro/missing", O_WRONLY | O_TRUNC));
    S(open("/ro/folder", O_WRONLY | O_TRUNC));
    S(truncate("/ro/file", 0));
    S(folder = open("/ro", O_RDONLY | O_DIRECTORY));
    S(openat(folder, "file", O_WRONLY | O_TRUNC));
    S(openat(folder, "new", O_WRONLY | O_TRUNC | O_CREAT, 0644));
    S(openat(folder, "new", O_RDONLY | O_CREAT, 0644));
    S(openat(folder, "file", O_WRONLY));
    S(mkdirat(folder, "new", 0755));
    S(unlinkat(folder, "file", 0));
    S(unlinkat(folder, "folder", AT_REMOVEDIR));
    S(renameat(folder, "file", folder, "new"));
    S(symlinkat("x", folder, "new"));
    S(linkat(folder, "file", folder, "new", 0));
    S(utimensat(folder, "file", NULL, 0));
    STEP(size("/ro/file"));
    S(make("file"));
    S(open("file", O_RDONLY | O_TRUNC));
    STEP(size("file"));
}

int main(int count, char **words) {
    const char *word = count > 1 ? words[1] : "";
    if (chdir("/data"))
        return 1;
    if (!strcmp(word, "sync"))
        sync_all();
    else if (!strcmp(word, "foreign"))
        foreign();
    else if (!strcmp(word, "listed"))
        list("mixed");
    else if (!strcmp(word, "fifo"))
        fifo();
    else if (!strcmp(word, "fifo-waits")) {
        puts("opens");
        fflush(stdout);
        S(open("fifo", O_RDONLY));
    } else if (!strcmp(word, "emptied"))
        emptied();
    else
        return 2;
    return 3;
}
