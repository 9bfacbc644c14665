// SPDX-License-Identifier: Apache-2.0
// Preloaded into Python: counts its calls of the C library, and at one of them ends the process or
// lets the call fail.  NVCR_FAULT is "kill N" (before the Nth call that changes a disk), "fail N
// ERRNO" (the Nth of all) or "count"; the calls are written to the file NVCR_CALLS.  Nothing counts
// before the program is there, which its first file tells, nor outside of Python.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/fcntl.h> // without the prototypes of fcntl.h, whose "..." cannot be passed on
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READS, CHANGES };
static int is_kill, number, error, begun, seen, calls = -1;

static int fails(const char *call, int changes) {
  if (!begun || (is_kill && changes != CHANGES))
    return 0;
  seen++;
  if (calls >= 0 && (changes || !is_kill))
    dprintf(calls, "%d %s\n", changes, call);
  if (seen != number)
    return 0;
  if (is_kill)
    kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

#define NEXT(type, name, params) \
  static type(*real) params; \
  if (!real) real = (type(*) params)dlsym(RTLD_NEXT, #name)
#define CALL(type, name, params, args, changes) \
  type name params { NEXT(type, name, params); return fails(#name, changes) ? (type)-1 : real args; }
#define OPEN(name, params, args, path, flags) \
  int name params { \
    NEXT(int, name, params); \
    begun |= strstr(path, "/nvidia_runtime/") && !strstr(path, "__init__"); \
    return fails(#name, (flags) & (O_CREAT | O_TRUNC) ? CHANGES : READS) ? -1 : real args; \
  }

// A mode that is not given is a register all the same, and not used.
OPEN(open, (const char *path, int flags, mode_t mode), (path, flags, mode), path, flags)
OPEN(open64, (const char *path, int flags, mode_t mode), (path, flags, mode), path, flags)
OPEN(openat, (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode), path, flags)
OPEN(openat64, (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode), path, flags)
CALL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd > 2 ? CHANGES : READS)
CALL(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), READS)
CALL(int, fstat, (int fd, struct stat *status), (fd, status), READS)
CALL(int, fstat64, (int fd, struct stat64 *status), (fd, status), READS)
CALL(int, fstatat64, (int at, const char *path, struct stat64 *status, int flags), (at, path, status, flags), READS)
CALL(int, lstat64, (const char *path, struct stat64 *status), (path, status), READS)
CALL(int, rename, (const char *from, const char *to), (from, to), CHANGES)
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), CHANGES)
CALL(int, unlink, (const char *path), (path), CHANGES)
CALL(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), CHANGES)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), CHANGES)
CALL(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), CHANGES)
CALL(int, rmdir, (const char *path), (path), CHANGES)
CALL(int, symlink, (const char *target, const char *path), (target, path), CHANGES)
CALL(int, symlinkat, (const char *target, int at, const char *path), (target, at, path), CHANGES)
CALL(int, link, (const char *from, const char *to), (from, to), CHANGES)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), CHANGES)
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), CHANGES)
CALL(int, fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags), CHANGES)
CALL(int, chown, (const char *path, uid_t user, gid_t group), (path, user, group), CHANGES)
CALL(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group), CHANGES)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), CHANGES)
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size), CHANGES)
CALL(int, fsync, (int fd), (fd), CHANGES)
CALL(int, futimens, (int fd, const struct timespec times[2]), (fd, times), CHANGES)

DIR *fdopendir(int fd) {
  NEXT(DIR *, fdopendir, (int fd));
  return fails("fdopendir", READS) ? NULL : real(fd);
}

DIR *opendir(const char *path) {
  NEXT(DIR *, opendir, (const char *path));
  return fails("opendir", READS) ? NULL : real(path);
}

__attribute__((constructor)) static void begin(void) {
  char program[4096] = "";
  const char *fault = getenv("NVCR_FAULT"), *file = getenv("NVCR_CALLS");
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0 || !strstr(program, "python"))
    return;
  if (file)
    calls = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  is_kill = fault && sscanf(fault, "kill %d", &number) == 1;
  if (fault && !is_kill)
    sscanf(fault, "fail %d %d", &number, &error);
}
