// Makes so many files in a folder, one after the other, renames each, reads it back and removes it: `churn FOLDER NUMBER`.
// With a third word: `folders` instead of files; `reading`, which removes them while it reads the folder, once; or `seen`, which
// makes none and looks for each, twice, and then waits for the end of its standard input; or `locks`, which waits for a byte,
// makes folders, and says how many of them it was that made them.
// Says after each round how many there are in the folder.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder;

static char *path(const char *kind, int number) {
    static char room[2][128];
    static int which;
    char *text = room[which = !which];
    snprintf(text, sizeof room[0], "%s/%s-%d", folder, kind, number);
    return text;
}

static void must(int done, const char *what, int number) {
    if (done >= 0)
        return;
    printf("%s %d: %s\n", what, number, strerror(errno));
    exit(1);
}

static void count(const char *what) {
    int all = 0;
    DIR *open = opendir(folder);
    must(open ? 0 : -1, "opendir", 0);
    for (struct dirent *entry; (entry = readdir(open));)
        all += entry->d_name[0] != '.';
    closedir(open);
    printf("%s: %d\n", what, all);
    fflush(stdout);
}

static void empty(void) {
    DIR *open = opendir(folder);
    must(open ? 0 : -1, "opendir", 0);
    for (struct dirent *entry; (entry = readdir(open));)
        if (entry->d_name[0] != '.') {
            char text[300];
            snprintf(text, sizeof text, "%s/%s", folder, entry->d_name);
            must(unlink(text), entry->d_name, 0);
        }
    closedir(open);
}

static int look(int number) {
    struct stat is;
    int seen = 0;
    for (int round = 0; round < 2; round++)
        for (int n = 0; n < number; n++)
            seen += !stat(path("new", n), &is);
    printf("seen: %d\n", seen);
    fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}

static int lock(int number) {
    int made = 0;
    printf("ready\n");
    fflush(stdout);
    getchar();
    for (int n = 0; n < number; n++) {
        int done = mkdir(path("lock", n), 0755);
        if (done && errno != EEXIST)
            must(done, "mkdir", n);
        made += !done;
    }
    printf("made: %d\n", made);
    return 0;
}

int main(int words, char **word) {
    folder = word[1];
    int number = atoi(word[2]), folders = words > 3 && !strcmp(word[3], "folders");
    char text[16], back[16];
    if (words > 3 && !strcmp(word[3], "seen"))
        return look(number);
    if (words > 3 && !strcmp(word[3], "locks"))
        return lock(number);
    count("none");
    for (int n = 0; n < number; n++) {
        if (folders) {
            must(mkdir(path("new", n), 0755), "mkdir", n);
            continue;
        }
        int file = open(path("new", n), O_WRONLY | O_CREAT | O_EXCL, 0644);
        must(file, "open", n);
        must(write(file, text, (size_t)sprintf(text, "%d", n)), "write", n);
        must(close(file), "close", n);
    }
    count("made");
    if (words > 3 && !strcmp(word[3], "reading")) {
        empty();
        count("removed");
        return 0;
    }
    for (int n = 0; n < number; n++)
        must(rename(path("new", n), path("old", n)), "rename", n);
    count("renamed");
    for (int n = 0; n < number && !folders; n++) {
        int file = open(path("old", n), O_RDONLY);
        must(file, "open again", n);
        ssize_t length = read(file, back, sizeof back);
        if (length != sprintf(text, "%d", n) || memcmp(text, back, (size_t)length)) {
            printf("%d has another's text\n", n);
            return 1;
        }
        must(close(file), "close again", n);
    }
    for (int n = 0; n < number; n++)
        must(folders ? rmdir(path("old", n)) : unlink(path("old", n)), "remove", n);
    count("removed");
    return 0;
}
