// The Go kitchen's errands in C: `kitchen COMMAND [ARGUMENT...]`, for wasi-libc and wasix-libc.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static int copy(int from, int to) {
    static char room[65536];
    ssize_t length;
    while ((length = read(from, room, sizeof room)) > 0)
        for (ssize_t done = 0, wrote; done < length; done += wrote)
            if ((wrote = write(to, room + done, (size_t)(length - done))) < 0)
                return failed("write");
    return length < 0 ? failed("read") : 0;
}

static int list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder)
        return failed(path);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            puts(entry->d_name);
    return closedir(folder);
}

static int fill(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0)
        return failed(path);
    return write(file, text, strlen(text)) < 0 || close(file) ? failed(path) : 0;
}

// Takes so many MiB in pieces of one, each written to, until there is no more.
static int hoard(int most) {
    // Chained and volatile: a compiler leaves out what nobody looks at.
    static char *volatile last;
    int had = 0;
    for (char *piece; had < most && (piece = malloc(1 << 20)); had++) {
        memset(piece, 1, 1 << 20);
        *(char **)piece = last;
        last = piece;
    }
    printf("%d MiB\n", had);
    return had < most;
}

int main(int count, char **words) {
    const char *command = count > 1 ? words[1] : "", *one = count > 2 ? words[2] : "", *two = count > 3 ? words[3] : "";
    if (!strcmp(command, "args"))
        for (int n = 0; n < count; n++)
            puts(words[n]);
    else if (!strcmp(command, "env"))
        puts(getenv(one) ? getenv(one) : "(none)");
    else if (!strcmp(command, "read")) {
        int file = open(one, O_RDONLY);
        return file < 0 ? failed(one) : copy(file, 1);
    } else if (!strcmp(command, "write"))
        return fill(one, two);
    else if (!strcmp(command, "ls"))
        return list(one);
    else if (!strcmp(command, "mkdir"))
        return mkdir(one, 0755) ? failed(one) : 0;
    else if (!strcmp(command, "rm"))
        return unlink(one) ? failed(one) : 0;
    else if (!strcmp(command, "rename"))
        return rename(one, two) ? failed(one) : 0;
    else if (!strcmp(command, "truncate"))
        return truncate(one, 0) ? failed(one) : 0;
    else if (!strcmp(command, "cat"))
        return copy(0, 1);
    else if (!strcmp(command, "stderr"))
        fprintf(stderr, "%s\n", one);
    else if (!strcmp(command, "hoard"))
        return hoard(atoi(one));
    else if (!strcmp(command, "abort"))
        abort();
    else if (!strcmp(command, "exit"))
        return atoi(one);
    else {
        fprintf(stderr, "unknown command \"%s\"\n", command);
        return 2;
    }
    return 0;
}
