/* What badly behaved modules do to the process they are loaded into: forks, leaks, floods, closed descriptors. */
#define _GNU_SOURCE
#include "hsm.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* `child` stays ours, `daemon` leaves our session and is nobody's child. Both sleep for long and note their pid. */
static void leave_behind(const char *how)
{
    const char *path = control_text("forks.file", NULL);
    int is_daemon = strcmp(how, "daemon") == 0;
    pid_t first = fork();
    if (first == 0) {
        if (is_daemon) {
            setsid();
            if (fork() != 0)
                _exit(0);
        }
        int fd = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            dprintf(fd, "%d\n", (int)getpid());
        for (;;)
            sleep(60);
    }
    if (is_daemon && first > 0)
        waitpid(first, NULL, 0);
}

/* `loop` closes all but the standard ones one by one, as programs did before there was a call for it. */
static void close_descriptors(const char *how)
{
    int first = strcmp(how, "all") == 0 ? 0 : 3;
    if (strcmp(how, "loop") == 0)
        for (int fd = 3; fd < getdtablesize(); fd++)
            close(fd);
    else
        syscall(SYS_close_range, first, ~0U, 0);
}

/* Write that text for ever; each ~ in it is the end of a line. */
static void keep_writing(const int *pipes, int count, const char *text)
{
    static char block[65536 + 4096];
    size_t length = strlen(text), filled = 0;
    for (; length > 0 && length < 4096 && filled < 65536; filled += length)
        for (size_t i = 0; i < length; i++)
            block[filled + i] = text[i] == '~' ? '\n' : text[i];
    while (filled > 0)
        for (int i = 0; i < count; i++)
            if (write(pipes[i], block, filled) < 0)
                return;
}

/* Write that text for ever to whatever pipe there is but standard error and what leads to it. */
static void flood_pipes(const char *text)
{
    int pipes[64], count = 0;
    struct stat found, errors;
    if (fstat(2, &errors) != 0)
        return;
    for (int fd = 0; fd < 1024 && count < 64; fd++)
        if (fstat(fd, &found) == 0 && S_ISFIFO(found.st_mode) && found.st_ino != errors.st_ino &&
            (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
            pipes[count++] = fd;
    if (count > 0)
        keep_writing(pipes, count, text);
}

/* The same for a module that goes out of its way: by the pipes of all threads of this process, whoever has them. */
static void flood_threads_pipes(const char *text)
{
    int pipes[64], count = 0;
    struct stat found, errors;
    char path[64];
    if (fstat(2, &errors) != 0)
        return;
    for (int thread = getpid(); thread < getpid() + 16; thread++)
        for (int fd = 0; fd < 4200 && count < 64; fd++) {
            snprintf(path, sizeof path, "/proc/self/task/%d/fd/%d", thread, fd);
            if (stat(path, &found) == 0 && S_ISFIFO(found.st_mode) && found.st_ino != errors.st_ino &&
                (pipes[count] = open(path, O_WRONLY | O_NONBLOCK)) >= 0)
                fcntl(pipes[count++], F_SETFL, 0);
        }
    if (count > 0)
        keep_writing(pipes, count, text);
}

/* A message of that many bytes, and the end of the line only after it. */
static void say_at_length(long bytes)
{
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    for (; bytes > 0; bytes -= (long)sizeof piece)
        if (write(2, piece, sizeof piece) < 0)
            return;
    if (write(2, "\n", 1) < 0)
        return;
}

static void leak(long megabytes)
{
    static char *volatile last;
    for (; megabytes > 0; megabytes--) {
        last = malloc(1 << 20);
        if (last != NULL)
            memset(last, 1, 1 << 20);
    }
}

void trouble(const char *(*text)(const char *function, const char *what, const char *label), const char *function,
             const char *label)
{
    const char *value;
    if ((value = text(function, "fork", label)) != NULL)
        leave_behind(value);
    if ((value = text(function, "close", label)) != NULL)
        close_descriptors(value);
    if ((value = text(function, "leak_mb", label)) != NULL)
        leak(strtol(value, NULL, 0));
    if ((value = text(function, "long_line", label)) != NULL)
        say_at_length(strtol(value, NULL, 0));
    if ((value = text(function, "flood", label)) != NULL)
        flood_pipes(value);
    if ((value = text(function, "flood_threads", label)) != NULL)
        flood_threads_pipes(value);
    if ((value = text(function, "flood_errors", label)) != NULL)
        keep_writing((const int[]){2}, 1, value);
}
