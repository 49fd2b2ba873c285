/* A file system that hangs: preloaded, it never returns from a call on a path below $HANG_BELOW while the file
 * $HANG_WHILE exists. The kernel's own hang (NFS, FUSE) is the same to the caller: a thread that does not come back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void hang(void) {
    const char *flag = getenv("HANG_WHILE");
    int (*look)(const char *, int) = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
    struct timespec moment = {0, 20 * 1000 * 1000};
    while (flag != NULL && look(flag, F_OK) == 0) nanosleep(&moment, NULL);
}

static void wait_at(const char *path) {
    const char *below = getenv("HANG_BELOW");
    if (path != NULL && below != NULL && strncmp(path, below, strlen(below)) == 0) hang();
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        wait_at(path); \
        NEXT(name); \
        return next(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        wait_at(path); \
        NEXT(name); \
        return next(folder, path, flags, mode); \
    }
#define STAT(name, buffer) \
    int name(const char *path, buffer *found) { \
        wait_at(path); \
        NEXT(name); \
        return next(path, found); \
    }
#define STATAT(name, buffer) \
    int name(int folder, const char *path, buffer *found, int flags) { \
        wait_at(path); \
        NEXT(name); \
        return next(folder, path, found, flags); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
STAT(stat, struct stat)
STAT(stat64, struct stat64)
STAT(lstat, struct stat)
STAT(lstat64, struct stat64)
STATAT(fstatat, struct stat)
STATAT(fstatat64, struct stat64)

int access(const char *path, int mode) {
    wait_at(path);
    NEXT(access);
    return next(path, mode);
}

static void wait_at_descriptor(int descriptor) {
    char name[64], path[4096];
    ssize_t length;
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    length = readlink(name, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    wait_at(path);
}

int fsync(int descriptor) {
    wait_at_descriptor(descriptor);
    NEXT(fsync);
    return next(descriptor);
}

int fdatasync(int descriptor) {
    wait_at_descriptor(descriptor);
    NEXT(fdatasync);
    return next(descriptor);
}

/* A resolver that does not answer for names that begin with $HANG_NAME. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    const char *name = getenv("HANG_NAME");
    if (host != NULL && name != NULL && strncmp(host, name, strlen(name)) == 0) hang();
    NEXT(getaddrinfo);
    return next(host, service, hints, found);
}

int gethostbyaddr_r(const void *address, socklen_t length, int type, struct hostent *entry, char *buffer, size_t size,
                    struct hostent **result, int *error) {
    if (getenv("HANG_OWN_NAME") != NULL) hang();
    NEXT(gethostbyaddr_r);
    return next(address, length, type, entry, buffer, size, result, error);
}
