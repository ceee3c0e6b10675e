// Opens the names of the standard streams, and images' links to them. argv: what to do, one after the other.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

// Says on stderr what came of it, as stdout is what is tried.
static void say(const char *step, int failed) {
    fprintf(stderr, "%s: %s\n", step, failed ? name(errno) : "ok");
}

static void step(const char *step) {
    const char *path = step + 1;
    switch (*step) {
    case 'a': { // appends a line, as logs are written
        FILE *log = fopen(path, "a");
        if (!log) return say(step, 1);
        fprintf(log, "by %s\n", path);
        return say(step, fclose(log));
    }
    case 'w': { // writes anew
        int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file < 0) return say(step, 1);
        int failed = dprintf(file, "to %s\n", path) < 0;
        return say(step, close(file) || failed);
    }
    case 'r': { // reads a line, once there is one
        int file = open(path, O_RDONLY);
        char line[64] = {0};
        struct pollfd ready = {file, POLLIN, 0};
        if (file < 0 || poll(&ready, 1, 10000) != 1 || read(file, line, sizeof line - 1) < 0) return say(step, 1);
        fprintf(stderr, "%s: %s", step, line);
        close(file);
        return;
    }
    case 's': { // what it is
        struct stat it;
        return say(step, stat(path, &it) || S_ISDIR(it.st_mode) || S_ISREG(it.st_mode));
    }
    case 'k': { // where it leads
        char text[64] = {0};
        if (readlink(path, text, sizeof text - 1) < 0) return say(step, 1);
        fprintf(stderr, "%s: %s\n", step, text);
        return;
    }
    case 'p': { // has no position
        int file = open(path, O_WRONLY);
        say(step, lseek(file, 0, SEEK_END) < 0);
        close(file);
        return;
    }
    case 'x': return say(step, open(path, O_WRONLY | O_CREAT | O_EXCL, 0644) < 0);
    case 'd': return say(step, !opendir(path));
    case '>': { // stdout becomes a file, and its name with it; what was opened by that before stays
        int saved = open("/dev/stdout", O_WRONLY);
        if (saved < 0 || !freopen(path, "w", stdout)) return say(step, 1);
        int now = open("/dev/stdout", O_WRONLY), again = open(path, O_RDONLY);
        char text[32] = {0};
        if (now < 0 || again < 0) return say(step, 1);
        int failed = write(now, "into the file\n", 14) != 14 || write(saved, "into the old\n", 13) != 13;
        failed |= read(again, text, 31) != 14 || strcmp(text, "into the file\n");
        close(now), close(saved), close(again);
        return say(step, failed);
    }
    case '5': { // any other descriptor
        int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
        char name[32];
        snprintf(name, sizeof name, "/dev/fd/%d", file);
        int other = open(name, O_RDWR);
        int failed = other < 0 || other == file || write(file, "text", 4) != 4;
        char text[8] = {0};
        failed |= pread(other, text, 7, 0) != 4 || strcmp(text, "text");
        close(file);
        failed |= close(other);
        return say(step, failed);
    }
    case 'f': { // a FIFO, from both ends
        int file = open(path, O_RDWR);
        char text[8] = {0};
        int failed = file < 0 || write(file, "text", 4) != 4 || read(file, text, 7) != 4 || strcmp(text, "text");
        if (file >= 0) close(file);
        return say(step, failed);
    }
    case 'c': { // closed
        close(1);
        int file = open("/dev/stdout", O_WRONLY);
        return say(step, file < 0);
    }
    case 'l': { // what is in a folder
        DIR *folder = opendir(path);
        if (!folder) return say(step, 1);
        for (struct dirent *entry; (entry = readdir(folder));)
            if (*entry->d_name != '.') fprintf(stderr, "%s%s\n", entry->d_name, entry->d_type == DT_LNK ? " link" : "");
        closedir(folder);
        return;
    }
    }
}

int main(int number, char **words) {
    for (int i = 1; i < number; i++) step(words[i]);
    return 0;
}
