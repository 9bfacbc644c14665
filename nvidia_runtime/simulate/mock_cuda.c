// SPDX-License-Identifier: Apache-2.0
/*
 * libcuda.so.1 of a simulated machine, as far as cuInit: what that answers is what it sees.
 *
 * It needs the nodes that the real one needs: without a GPU's or nvidiactl it has no device, and
 * without nvidia-uvm it fails in the way of the real one, by an unknown error.  ANSWER is for
 * faults: whoever makes the library writes an error, or that it never answers, behind the mark.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST 64

enum { CRASH = -1, HANG = -2, SUCCESS = 0, NOT_INITIALIZED = 3, NO_DEVICE = 100, UNKNOWN = 999 };

static const volatile struct {
    char mark[16];
    int result;
} ANSWER = {"mock_cuda:cuInit", SUCCESS};

static int devices = -1;

static int is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Whether opening is not forbidden; that there is no driver behind a node is as it should be. */
static int may_open(const char *path)
{
    int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (descriptor >= 0)
        close(descriptor);
    return descriptor >= 0 || (errno != EPERM && errno != EACCES);
}

static int counted(void)
{
    char path[32];
    int count = 0;

    if (!is_there("/dev/nvidiactl"))
        return 0;
    for (int minor = 0; minor < MOST; minor++) {
        snprintf(path, sizeof path, "/dev/nvidia%d", minor);
        count += is_there(path) && may_open(path);
    }
    return count;
}

EXPORT int cuInit(unsigned int flags)
{
    (void)flags;
    if (ANSWER.result == CRASH)
        abort();
    while (ANSWER.result == HANG)
        pause();
    if (ANSWER.result)
        return ANSWER.result;
    if (is_there("/dev/dxg") || is_there("/dev/nvhost-gpu")) {
        devices = 1;
        return SUCCESS;
    }
    devices = counted();
    if (devices == 0)
        return NO_DEVICE;
    return is_there("/dev/nvidia-uvm") ? SUCCESS : UNKNOWN;
}

EXPORT int cuDeviceGetCount(int *count)
{
    if (devices < 0)
        return NOT_INITIALIZED;
    *count = devices;
    return SUCCESS;
}
