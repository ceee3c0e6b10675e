// `fork CODE`: a child prints and ends with the code; the parent waits for it and prints what came.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    int code = count > 1 ? atoi(words[1]) : 3, shared = 1;
    pid_t child = fork();
    if (child < 0) {
        printf("fork: %s\n", strerror(errno));
        return 1;
    }
    if (!child) {
        // Its own memory: the parent's stays as it is.
        shared = 2;
        printf("child\n");
        fflush(stdout);
        _exit(code);
    }
    int status;
    if (waitpid(child, &status, 0) != child) {
        printf("waitpid: %s\n", strerror(errno));
        return 1;
    }
    printf("child ended with %d, parent has %d\n", WEXITSTATUS(status), shared);
    return 0;
}
