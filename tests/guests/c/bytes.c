// Names that are no text: made, listed, read, moved and removed. A line a step.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

// How many bytes the names of a folder have, without its own and its parent's.
static int listed(DIR *folder) {
    int bytes = 0;
    struct dirent *entry;
    if (!folder)
        return -1;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            bytes += strlen(entry->d_name);
    closedir(folder);
    return bytes;
}

static int wrote(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0)
        return -1;
    int count = write(file, text, strlen(text));
    close(file);
    return count;
}

static int bytes(const char *path) {
    char text[64];
    int file = open(path, O_RDONLY);
    if (file < 0)
        return -1;
    int count = read(file, text, sizeof text);
    close(file);
    return count;
}

int main(void) {
    struct stat is;
    char text[64] = "";
    if (chdir("/data"))
        return 1;
    STEP(wrote("\xff", "one"));
    STEP(wrote("caf\xe9", "three"));
    STEP(wrote("caf\xe9", "again"));
    STEP(wrote("...", "dots"));
    STEP(wrote("\xe6\x97\xa5", "day"));
    STEP(bytes("\xff"));
    STEP(bytes("caf\xe9"));
    STEP(bytes("..."));
    STEP(bytes("\xe6\x97\xa5"));
    STEP(bytes("\xfe"));
    STEP(stat("caf\xe9", &is));
    STEP((long long)is.st_size);
    STEP(listed(opendir(".")));
    STEP(mkdir("\xfd", 0777));
    STEP(wrote("\xfd/\xfc", "below"));
    STEP(wrote("\xfd/plain", "plainly"));
    STEP(bytes("\xfd/\xfc"));
    STEP(listed(opendir("\xfd")));
    int folder = open("\xfd", O_RDONLY | O_DIRECTORY), other = open(".", O_RDONLY | O_DIRECTORY);
    int plain = openat(folder, "plain", O_RDONLY), below = openat(folder, "\xfc", O_RDONLY);
    STEP(read(plain, text, sizeof text));
    STEP(read(below, text, sizeof text));
    STEP(mkdirat(folder, "deep", 0777));
    STEP(wrote("\xfd/deep/file", "deeply"));
    STEP(fstat(folder, &is) || !S_ISDIR(is.st_mode));
    STEP(fstatat(other, "\xfd/deep/file", &is, 0));
    STEP((long long)is.st_size);
    STEP(symlink("\xff", "\xfb"));
    STEP(readlink("\xfb", text, sizeof text));
    STEP(bytes("\xfb"));
    STEP(rename("\xfd/\xfc", "\xfa"));
    STEP(bytes("\xfa"));
    STEP(link("\xfa", "\xf9"));
    STEP(truncate("\xf9", 2));
    STEP(bytes("\xfa"));
    STEP(unlink("\xfd/deep/file"));
    STEP(rmdir("\xfd/deep"));
    STEP(unlink("\xfd/plain"));
    STEP(rmdir("\xfd"));
    STEP(unlink("\xff"));
    STEP(unlink("caf\xe9"));
    STEP(listed(opendir(".")));
    return 3;
}
