// Reads a folder while it changes, and comes back to places in it. argv: the folder, how many files, and what to do: `steps`, or
// `list`, which says how long it took on stderr.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int is_name(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static int count(DIR *folder) {
    int names = 0;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(folder));) names += is_name(entry);
    if (errno) printf("readdir: %s\n", strerror(errno));
    return names;
}

static void make(const char *name) {
    int file = open(name, O_CREAT | O_WRONLY, 0644);
    if (file < 0) printf("%s: %s\n", name, strerror(errno));
    close(file);
}

static int compare(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

// The names with what the folder says that they are.
static void show(void) {
    char *names[64];
    int number = 0;
    DIR *folder = opendir(".");
    for (struct dirent *entry; (entry = readdir(folder)) && number < 64;)
        if (is_name(entry)) {
            int type = entry->d_type;
            char kind = type == DT_DIR ? 'd' : type == DT_LNK ? 'l' : type == DT_REG ? 'f' : '?';
            names[number] = malloc(strlen(entry->d_name) + 3);
            sprintf(names[number++], "%c %s", kind, entry->d_name);
        }
    closedir(folder);
    qsort(names, number, sizeof *names, compare);
    for (int i = 0; i < number; i++) printf("%s\n", names[i]);
}

static void steps(int files) {
    DIR *folder = opendir(".");
    printf("all: %d\n", count(folder));
    printf("at the end: %d\n", count(folder));
    rewinddir(folder);
    printf("again: %d\n", count(folder));

    rewinddir(folder);
    for (int i = 0; i < 10; i++) readdir(folder);
    long place = telldir(folder);
    char name[300];
    strcpy(name, readdir(folder)->d_name);
    for (int i = 0; i < files / 2; i++) readdir(folder);
    long later = telldir(folder);
    char after[300];
    strcpy(after, readdir(folder)->d_name);
    seekdir(folder, place);
    printf("the same: %d\n", !strcmp(name, readdir(folder)->d_name));
    printf("the rest: %d\n", count(folder));
    seekdir(folder, later);
    printf("the later one: %d\n", !strcmp(after, readdir(folder)->d_name));

    make("new");
    rewinddir(folder);
    printf("with a new one: %d\n", count(folder));
    unlink("new");
    rewinddir(folder);
    printf("without: %d\n", count(folder));
    closedir(folder);

    DIR *one = opendir("."), *other = opendir(".");
    int lost = 0;
    for (struct dirent *entry; (entry = readdir(one));) {
        char first[300];
        strcpy(first, entry->d_name);
        entry = readdir(other);
        lost += !entry || strcmp(first, entry->d_name);
    }
    printf("two at once: %d differ\n", lost);
    closedir(one);
    closedir(other);

    int removed = 0;
    folder = opendir(".");
    for (struct dirent *entry; (entry = readdir(folder));) removed += is_name(entry) && !unlink(entry->d_name);
    closedir(folder);
    folder = opendir(".");
    printf("removed: %d, left: %d\n", removed, count(folder));
    closedir(folder);

    mkdir("folder", 0755);
    make("file");
    make("caf\xc3\xa9");
    make("a blank");
    symlink("file", "link");
    symlink("nowhere", "dangling");
    show();
    struct stat file;
    printf("ENOENT: %d\n", !opendir("missing") && errno == ENOENT);
    printf("ENOTDIR: %d\n", !opendir("file") && errno == ENOTDIR);
    printf("stat: %d\n", stat("file", &file));
}

int main(int number, char **words) {
    int files = number > 3 ? atoi(words[2]) : 0;
    if (number < 4 || chdir(words[1])) return 2;
    char name[300];
    for (int i = 0; i < files; i++) {
        int length = sprintf(name, "file-%05d-", i);
        memset(name + length, 'x', i % 200);
        name[length + i % 200] = 0;
        make(name);
    }
    if (!strcmp(words[3], "steps")) {
        steps(files);
        return 0;
    }
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    DIR *folder = opendir(".");
    printf("%d\n", count(folder));
    closedir(folder);
    clock_gettime(CLOCK_MONOTONIC, &end);
    fprintf(stderr, "%ld\n", (long)(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000);
    return 0;
}
