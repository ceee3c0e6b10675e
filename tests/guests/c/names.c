// Names below links, with slashes at their ends and of folders that are open: makes, moves and removes them in `/data` and in
// `/var/run`, a link, and says of each call what came of it. Ends with 3.
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "steps.h"

static void say(const char *call, long answer) {
    int number = errno;
    printf("%s: %s\n", call, answer < 0 ? name(number) : "ok");
    fflush(stdout);
}

#define S(call) (errno = 0, say(#call, (long)(call)))

static int make(const char *path) {
    int file = open(path, O_CREAT | O_WRONLY, 0644);
    return file < 0 ? -1 : close(file);
}

static long there(const char *path) {
    struct stat is;
    return stat(path, &is);
}

// Each in a folder of its own, which is the working directory.
static void begin(const char *what) {
    char path[64] = "/data/";
    strcat(path, what);
    printf("- %s\n", what);
    if (mkdir(path, 0755) || chdir(path))
        printf("cannot begin: %s\n", name(errno));
}

static void below_var_run(void) {
    S(make("/var/run/x.pid"));
    S(unlink("/var/run/x.pid"));
    S(make("/var/run/x.pid"));
    S(rename("/var/run/x.pid", "/var/run/y.pid"));
    S(unlink("/var/run/y.pid"));
    S(there("/run/y.pid"));
    S(mkdir("/var/run/d", 0755));
    S(there("/run/d"));
    S(rmdir("/var/run/d"));
    S(symlink("t", "/var/run/l"));
    S(unlink("/var/run/l"));
}

static void below_links(void) {
    S(mkdir("d1", 0755));
    S(symlink("d1", "l1"));
    S(make("l1/f"));
    S(unlink("l1/f"));
    S(make("d1/f"));
    S(unlink("l1/f"));
    S(there("d1/f"));
    S(make("l1/f"));
    S(rename("l1/f", "l1/g"));
    S(rename("l1/g", "d1/h"));
    S(unlink("d1/h"));
    S(mkdir("l1/s", 0755));
    S(make("l1/s/f"));
    S(rmdir("l1/s"));
    S(unlink("l1/s/f"));
    S(rmdir("l1/s"));
    S(symlink("x", "l1/y"));
    S(unlink("l1/y"));
    S(rmdir("d1"));
    S(make("l1/f"));
}

static void absolute_links(void) {
    S(mkdir("/data/d2", 0755));
    S(symlink("/data/d2", "l2"));
    S(make("l2/f"));
    S(rename("l2/f", "l2/g"));
    S(unlink("l2/g"));
    S(symlink("../../../../../../data/d2", "up"));
    S(make("up/f"));
    S(there("/data/d2/f"));
    S(unlink("up/f"));
    char target[64] = "";
    S(readlink("up", target, 10));
    printf("target: %s\n", target);
    S(readlink("/data/d2", target, sizeof target));
}

static void links_that_are_replaced(void) {
    S(mkdir("v1", 0755));
    S(symlink("v1", "current"));
    S(make("current/a"));
    S(mkdir("v2", 0755));
    S(symlink("v2", "next"));
    S(rename("next", "current"));
    S(make("current/b"));
    S(unlink("current/b"));
    S(unlink("current/a"));
    S(there("v1/a"));
    S(unlink("v1/a"));
}

static void slashes(void) {
    S(make("f"));
    S(rename("f", "g/"));
    S(there("f"));
    S(there("g"));
    S(mkdir("dir", 0755));
    S(symlink("dir", "ld"));
    S(unlink("ld/"));
    S(there("dir"));
    S(rename("ld/", "q"));
    S(rmdir("ld/"));
    S(there("dir"));
    S(unlink("f/"));
    S(rename("f", "dir/"));
    S(rename("f", "dir/."));
    S(rename("dir/", "f"));
    S(rename("f/", "f2"));
    S(rename("dir/", "dir2/"));
    S(rename("dir2", "f/"));
    S(rename("nope/", "x"));
    S(rename("nope", "x/"));
    S(mkdir("made/", 0755));
    S(symlink("t", "link/"));
    S(link("f", "hard/"));
    S(rmdir("made/"));
    S(rmdir("dir2/."));
    S(rmdir("dir2/.."));
}

static void links_themselves(void) {
    S(mkdir("dir", 0755));
    S(symlink("dir", "ld"));
    S(rename("ld", "lq"));
    S(rename("lq", "dir2"));
    S(link("dir2", "l2"));
    S(rmdir("dir2"));
    S(unlink("dir2"));
    S(unlink("l2"));
    S(symlink("nope", "l"));
    S(open("l", O_RDONLY));
    S(rename("l", "m"));
    S(make("m"));
    S(there("nope"));
    S(unlink("m"));
    S(unlink("nope"));
    S(symlink("l2", "l1"));
    S(symlink("l1", "l2"));
    S(open("l1", O_RDONLY));
    S(unlink("l1"));
    S(rename("l2", "l3"));
    S(unlink("l3"));
    S(symlink("", "empty"));
}

static void folders(void) {
    S(mkdir("d", 0755));
    S(mkdir("d/e", 0755));
    S(rename("d", "d/e/x"));
    S(rename("d", "d"));
    S(symlink("../d", "d/self"));
    S(there("d/self/self/self/e"));
    S(rename("d/self", "d/self2"));
    S(rename("d", "b"));
    S(there("b/self2"));
    S(there("b/e"));
    S(unlink("b/self2"));
    S(mkdir("full", 0755));
    S(make("full/f"));
    S(rename("b", "full"));
    S(rmdir("full"));
    S(unlink("full/f"));
    S(rename("b", "full"));
    S(make("full/e/f"));
    S(there("b"));
    S(unlink("full/e/f"));
    S(rmdir("full/e"));
    S(rmdir("full"));
    S(mkdir("full", 0755));
    S(mkdir("full/e", 0755));
    S(there("full/e"));
}

static void folders_that_are_open(void) {
    struct stat is;
    S(mkdir("x", 0755));
    int folder = open("x", O_RDONLY | O_DIRECTORY);
    S(rename("x", "y"));
    S(mkdirat(folder, "k", 0755));
    S(there("y/k"));
    S(unlinkat(folder, "k", AT_REMOVEDIR));
    S(symlinkat("t", folder, "s"));
    S(renameat(folder, "s", folder, "s2"));
    S(unlinkat(folder, "s2", 0));
    S(mkdir("other", 0755));
    S(rename("y", "other/z"));
    S(mkdirat(folder, "k", 0755));
    S(there("other/z/k"));
    S(fstatat(folder, "../z/k", &is, 0));
    S(unlinkat(folder, "k", AT_REMOVEDIR));
    S(close(folder));
}

static void the_root(void) {
    S(mkdir("/", 0755));
    S(rmdir("/"));
    S(unlink("/"));
    S(rename("/", "/x"));
    S(rename("/data", "/x"));
}

int main(void) {
    below_var_run();
    begin("below-links"), below_links();
    begin("absolute-links"), absolute_links();
    begin("replaced"), links_that_are_replaced();
    begin("slashes"), slashes();
    begin("links"), links_themselves();
    begin("folders"), folders();
    begin("open"), folders_that_are_open();
    the_root();
    return 3;
}
