// What open files answer: their numbers of errors, and their size, position and times while others change them. A line a step.
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__wasix__) || !defined(__wasm__)
#include <sys/socket.h>
#endif
#include "steps.h"

// These two answer with the number of the error.
static long long told(int error) { return error ? (errno = error, -1) : 0; }
static long long allocate(int file, off_t from, off_t length) { return told(posix_fallocate(file, from, length)); }
static long long advise(int file, off_t from, off_t length, int advice) { return told(posix_fadvise(file, from, length, advice)); }

static long long size(int file) {
    struct stat is;
    return fstat(file, &is) ? -1 : is.st_size;
}

static int same(int file, const char *path) {
    struct stat one, other;
    return !fstat(file, &one) && !stat(path, &other) && one.st_ino == other.st_ino && one.st_dev == other.st_dev &&
           one.st_mtime == other.st_mtime && one.st_mode == other.st_mode && one.st_nlink == other.st_nlink;
}

static int made(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    write(file, text, strlen(text));
    return close(file);
}

static void modes(void) {
    char byte[8];
    made("file", "0123456789");
    int reads = open("file", O_RDONLY), writes = open("file", O_WRONLY), both = open("file", O_RDWR);
    int folder = open(".", O_RDONLY | O_DIRECTORY), created = open("created", O_RDONLY | O_CREAT, 0666);
    STEP(write(reads, "x", 1));
    STEP(pwrite(reads, "x", 1, 0));
    STEP(write(created, "x", 1));
    STEP(ftruncate(reads, 0));
    STEP(allocate(reads, 0, 1));
    STEP(read(writes, byte, 1));
    STEP(pread(writes, byte, 1, 0));
    STEP(read(folder, byte, 1));
    STEP(pread(folder, byte, 1, 0));
    STEP(write(folder, "x", 1));
    STEP(ftruncate(folder, 0));
    STEP(allocate(folder, 0, 1));
    STEP(lseek(both, -1, SEEK_SET));
    STEP(lseek(both, 4, SEEK_SET));
    STEP(lseek(both, -5, SEEK_CUR));
    STEP(lseek(both, 0, SEEK_CUR));
    STEP(lseek(both, -11, SEEK_END));
    STEP(lseek(both, 0, SEEK_CUR));
    STEP(lseek(both, -4, SEEK_CUR));
    STEP(lseek(both, 5, SEEK_END));
    STEP(pread(both, byte, 1, -1));
    STEP(pwrite(both, "x", 1, -1));
    STEP(ftruncate(both, -1));
    STEP(allocate(both, 0, 0));
    STEP(allocate(both, -1, 1));
    STEP(allocate(both, 0, 4000));
    STEP(size(both));
    STEP(ftruncate(both, 10));
    STEP(advise(both, 0, 0, POSIX_FADV_SEQUENTIAL));
    STEP(write(99, "x", 1));
    STEP(read(99, byte, 1));
    STEP(pread(99, byte, 1, 0));
    STEP(lseek(99, 0, SEEK_CUR));
    STEP(size(99));
    STEP(fsync(99));
    STEP(ftruncate(99, 0));
    STEP(allocate(99, 0, 1));
    STEP(close(99));
}

static void synced(void) {
    int folder = open(".", O_RDONLY | O_DIRECTORY), reads = open("file", O_RDONLY), writes = open("file", O_WRONLY);
    STEP(fsync(folder));
    STEP(fdatasync(folder));
    STEP(fsync(reads));
    STEP(fdatasync(reads));
    STEP(fsync(writes));
    STEP(fdatasync(writes));
}

static void opened(void) {
    char byte[8];
    mkdir("folder", 0777);
    STEP(open(".", O_RDONLY | O_CREAT, 0666));
    STEP(open("folder", O_RDONLY | O_CREAT, 0666));
    STEP(open("folder", O_RDONLY | O_CREAT | O_EXCL, 0666));
    STEP(open("folder", O_WRONLY));
    STEP(open("folder", O_RDONLY | O_TRUNC));
    STEP(open("folder/new/", O_WRONLY | O_CREAT, 0666));
    STEP(open("file/", O_RDONLY));
    STEP(open("file", O_RDONLY | O_DIRECTORY));
    STEP(open("file/below", O_RDONLY));
    STEP(open("file", O_RDONLY | O_CREAT | O_EXCL, 0666));
    symlink("file", "link");
    symlink("fresh", "dangling");
    STEP(open("link", O_RDONLY | O_NOFOLLOW));
    STEP(open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0666));
    int fresh = open("dangling", O_RDWR | O_CREAT, 0666);
    STEP(write(fresh, "fresh", 5));
    STEP(same(fresh, "fresh"));
    // A folder of one letter, and files that begin with it.
    mkdir("f", 0777);
    int f = open("f", O_RDONLY | O_DIRECTORY);
    int first = openat(f, "first", O_RDWR | O_CREAT, 0666), second = openat(f, "second", O_RDWR | O_CREAT, 0666);
    write(first, "first", 5);
    write(second, "second", 6);
    int third = openat(f, "first", O_RDONLY);
    STEP(size(first));
    STEP(size(second));
    STEP(read(third, byte, 8));
    STEP(same(third, "f/first"));
    STEP(same(third, "f/second"));
}

static void changed(void) {
    char text[64];
    made("log", "hello");
    int file = open("log", O_RDWR), other = open("log", O_WRONLY | O_APPEND), more = open("log", O_WRONLY | O_APPEND);
    STEP(size(file));
    STEP(write(other, " world!", 7));
    STEP(size(file));
    STEP(lseek(file, 0, SEEK_END));
    STEP(write(more, "more", 4));
    STEP(lseek(more, 0, SEEK_CUR));
    STEP(write(other, "and", 3));
    STEP(lseek(other, 0, SEEK_CUR));
    STEP(lseek(more, 0, SEEK_CUR));
    STEP(size(other));
    STEP(truncate("log", 2));
    STEP(size(file));
    STEP(size(other));
    STEP(write(other, "x", 1));
    STEP(lseek(other, 0, SEEK_CUR));
    STEP(pread(file, text, sizeof text, 0));
    // Its times, and another name.
    struct timespec times[2] = {{1000000000, 5}, {1100000000, 6}};
    struct stat is;
    STEP(utimensat(AT_FDCWD, "log", times, 0));
    STEP((fstat(file, &is), is.st_mtim.tv_sec));
    STEP((fstat(file, &is), is.st_atim.tv_sec));
    STEP(link("log", "name"));
    STEP((fstat(file, &is), (long long)is.st_nlink));
    STEP(same(file, "name"));
    STEP(rename("name", "name-2"));
    STEP(unlink("log"));
    STEP((fstat(file, &is), (long long)is.st_nlink));
    STEP(unlink("name-2"));
    STEP((fstat(file, &is), (long long)is.st_nlink));
    STEP(size(file));
    int folder = open(".", O_RDONLY | O_DIRECTORY);
    STEP(same(folder, "."));
    // What was opened without, and appends from now on.
    int plain = open("file", O_RDWR);
    STEP(fcntl(plain, F_SETFL, O_APPEND));
    STEP(write(plain, "end", 3));
    STEP(lseek(plain, 0, SEEK_CUR));
}

static void pipes(void) {
#if defined(__wasix__) || !defined(__wasm__)
    int ends[2];
    char byte[2];
    pipe(ends);
    STEP(lseek(ends[0], 0, SEEK_CUR));
    STEP(lseek(ends[1], 0, SEEK_SET));
    STEP(write(ends[0], "x", 1));
    STEP(read(ends[1], byte, 1));
    STEP(write(ends[1], "x", 1));
    STEP(pread(ends[0], byte, 1, 0));
    STEP(pwrite(ends[1], "x", 1, 0));
    STEP(read(ends[0], byte, 1));
    STEP(fsync(ends[0]));
    STEP(ftruncate(ends[1], 0));
    int one = socket(AF_INET, SOCK_DGRAM, 0);
    STEP(lseek(one, 0, SEEK_CUR));
    STEP(pread(one, byte, 1, 0));
    STEP(fsync(one));
    STEP(ftruncate(one, 0));
#endif
}

int main(void) {
    if (chdir("/data"))
        return 1;
    modes();
    synced();
    opened();
    changed();
    pipes();
    return 3;
}
