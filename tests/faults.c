/* A library to preload: from `faults_arm` on it counts the changes of files below a folder, and at the `when`th it
   kills the process (k), lets this one fail (e: EIO), or lets it and all after it that need room fail (f: ENOSPC). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static char kind;
static long at, seen;

void faults_arm(const char *where, char how, long when) {
  strncpy(folder, where, PATH_MAX - 1);
  kind = how, at = when, seen = 0;
}
long faults_seen(void) { return seen; }

static int is_below(int file, const char *path) {
  char full[2 * PATH_MAX] = "", link[64];
  if (!path || path[0] != '/') { /* it begins at a descriptor, or in the working directory */
    snprintf(link, sizeof link, file == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", file);
    if (readlink(link, full, PATH_MAX - 1) < 0) return 0;
    if (path) strcat(full, "/");
  }
  if (path) strncat(full, path, PATH_MAX - 1);
  size_t length = strlen(folder);
  return !strncmp(full, folder, length) && (full[length] == '/' || !full[length]);
}

static int fault(int file, const char *path, int needs_room) {
  int before = errno, wrong = 0;
  if (folder[0] && is_below(file, path)) {
    long now = __sync_add_and_fetch(&seen, 1);
    if (kind == 'k' && now == at) kill(getpid(), SIGKILL);
    if (kind == 'e' && now == at) wrong = EIO;
    if (kind == 'f' && at && now >= at && needs_room) wrong = ENOSPC;
  }
  errno = wrong ? wrong : before;
  return wrong;
}

#define CHANGE(type, name, params, args, file, path, needs_room)      \
  type name params {                                                  \
    static type(*real) params;                                        \
    if (!real) real = dlsym(RTLD_NEXT, #name);                        \
    return fault(file, path, needs_room) ? -1 : real args;            \
  }
#define OPEN(name, params, args, file)                                \
  int name params {                                                   \
    static int(*real) params;                                         \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                     \
    if (!real) real = dlsym(RTLD_NEXT, #name);                        \
    return flags & (O_CREAT | O_TRUNC) && fault(file, path, 1) ? -1 : real args; \
  }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int file, const char *path, int flags, ...), (file, path, flags, mode), file)
OPEN(openat64, (int file, const char *path, int flags, ...), (file, path, flags, mode), file)
CHANGE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size), file, NULL, 1)
CHANGE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t to), (file, data, size, to), file, NULL, 1)
CHANGE(ssize_t, writev, (int file, const struct iovec *data, int size), (file, data, size), file, NULL, 1)
CHANGE(ssize_t, sendfile64, (int file, int from, off64_t *at, size_t size), (file, from, at, size), file, NULL, 1)
CHANGE(ssize_t, sendfile, (int file, int from, off_t *at, size_t size), (file, from, at, size), file, NULL, 1)
CHANGE(int, ftruncate64, (int file, off64_t size), (file, size), file, NULL, 1)
CHANGE(int, fsync, (int file), (file), file, NULL, 0)
CHANGE(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 1)
CHANGE(int, rename, (const char *from, const char *path), (from, path), AT_FDCWD, path, 0)
CHANGE(int, link, (const char *from, const char *path), (from, path), AT_FDCWD, path, 1)
CHANGE(int, linkat, (int d, const char *from, int file, const char *path, int how), (d, from, file, path, how), file, path, 1)
CHANGE(int, unlink, (const char *path), (path), AT_FDCWD, path, 0)
CHANGE(int, unlinkat, (int file, const char *path, int how), (file, path, how), file, path, 0)
CHANGE(int, rmdir, (const char *path), (path), AT_FDCWD, path, 0)
CHANGE(int, chmod, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 0)
