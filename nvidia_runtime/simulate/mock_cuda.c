// SPDX-License-Identifier: Apache-2.0
/*
 * libcuda.so.1 of a simulated machine, as far as telling of devices: no code runs on one.
 *
 * It needs the nodes that the real one needs: without a GPU's or nvidiactl it has no device, and
 * without nvidia-uvm it fails in the way of the real one, by an unknown error.  What the devices
 * are, mock_machine.h reads.  ANSWER is for faults: whoever makes the library writes an error, or
 * that it never answers, behind the mark.
 */
#define _GNU_SOURCE
#include "mock_machine.h"

#include <ctype.h>
#include <strings.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST (MOST_GPUS * MOST_MIGS)

enum {
    CRASH = -1,
    HANG = -2,
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    UNKNOWN = 999,
};

static const volatile struct {
    char mark[16];
    int result;
} ANSWER = {"mock_cuda:cuInit", SUCCESS};

struct device {
    struct gpu *gpu;
    struct mig *mig;
};

static struct device devices[MOST];
static int device_count = -1;

static int is_there(const char *path) { return access(path, F_OK) == 0; }

/* What can be used: GPUs; where all of them are in MIG mode, one MIG device. */
static int usable(struct device *out) {
    int count = 0;
    int is_soc = is_there("/dev/nvhost-gpu"), is_windows = is_there("/dev/dxg");
    if (!is_soc && !is_windows && !is_there("/dev/nvidiactl")) return 0;
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *gpu = &gpus[i];
        if (gpu->mig_mode != 1 && (is_windows || (is_soc && !i) || (!is_soc && sees_gpu(gpu))))
            out[count++] = (struct device){gpu, 0};
    }
    for (int i = 0; !count && i < gpu_count; i++)
        for (int j = 0; !count && j < gpus[i].mig_count; j++)
            if (sees_gpu(&gpus[i]) && sees_mig(&gpus[i].migs[j]))
                out[count++] = (struct device){&gpus[i], &gpus[i].migs[j]};
    return count;
}

/* Find the MIG device of a UUID. */
static struct device named_mig(const char *name) {
    for (int i = 0; i < gpu_count; i++)
        for (int j = 0; j < gpus[i].mig_count; j++)
            if (!strcasecmp(gpus[i].migs[j].uuid, name) && sees_gpu(&gpus[i]) &&
                sees_mig(&gpus[i].migs[j]))
                return (struct device){&gpus[i], &gpus[i].migs[j]};
    return (struct device){0, 0};
}

/* Find a device by its place in a list, or by its UUID, of which the beginning is enough. */
static struct device named(const char *name, const struct device *all, int count) {
    if (isdigit((unsigned char)*name) && atoi(name) < count) return all[atoi(name)];
    if (!strncasecmp(name, "MIG-", 4)) return named_mig(name);
    for (int i = 0; i < count && !strncasecmp(name, "GPU-", 4); i++)
        if (!all[i].mig && !strncasecmp(all[i].gpu->uuid, name, strlen(name))) return all[i];
    return (struct device){0, 0};
}

/* List the devices: those of CUDA_VISIBLE_DEVICES, up to the first that there is not. */
static int find_devices(void) {
    static struct device all[MOST];
    char list[4096], *rest = 0;
    int count = usable(all), chosen = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible) {
        memcpy(devices, all, sizeof devices);
        return count;
    }
    snprintf(list, sizeof list, "%s", visible);
    for (char *name = strtok_r(list, ", ", &rest); name && chosen < MOST;
         name = strtok_r(0, ", ", &rest)) {
        devices[chosen] = named(name, all, count);
        if (!devices[chosen].gpu) break;
        chosen++;
    }
    return chosen;
}

EXPORT int cuInit(unsigned flags) {
    (void)flags;
    if (ANSWER.result == CRASH) abort();
    while (ANSWER.result == HANG) pause();
    if (ANSWER.result) return ANSWER.result;
    device_count = read_machine() == READ ? find_devices() : 0;
    if (device_count == 0) return NO_DEVICE;
    if (is_there("/dev/dxg") || is_there("/dev/nvhost-gpu")) return SUCCESS;
    return is_there("/dev/nvidia-uvm") ? SUCCESS : UNKNOWN;
}

EXPORT int cuDriverGetVersion(int *version) {
    if (!version) return INVALID_VALUE;
    if (!cuda_version && read_machine() != READ) return UNKNOWN;
    *version = cuda_version;
    return SUCCESS;
}

EXPORT int cuDeviceGetCount(int *count) {
    if (device_count < 0) return NOT_INITIALIZED;
    if (!count) return INVALID_VALUE;
    *count = device_count;
    return SUCCESS;
}

/* What every call about a device begins with. */
#define DEVICE(number, out) \
    if (device_count < 0) return NOT_INITIALIZED; \
    if (!(out)) return INVALID_VALUE; \
    if ((number) < 0 || (number) >= device_count) return INVALID_DEVICE; \
    const struct device *device = &devices[number]

EXPORT int cuDeviceGet(int *out, int number) {
    DEVICE(number, out);
    (void)device;
    *out = number;
    return SUCCESS;
}

static const struct gpu_profile *part_of(const struct device *device) {
    for (int i = 0; device->mig && i < device->gpu->gpu_profile_count; i++)
        if (device->gpu->gpu_profiles[i].number == device->mig->gpu_profile)
            return &device->gpu->gpu_profiles[i];
    return 0;
}

EXPORT int cuDeviceGetName(char *name, int length, int number) {
    DEVICE(number, name);
    const struct gpu_profile *part = part_of(device);
    if (length <= 0) return INVALID_VALUE;
    snprintf(name, (size_t)length, "%s%s%s", device->gpu->name, part ? " MIG " : "",
             part ? part->name : "");
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid_v2(unsigned char *bytes, int number) {
    DEVICE(number, bytes);
    const char *uuid = device->mig ? device->mig->uuid : device->gpu->uuid;
    const char *dash = strchr(uuid, '-');
    return dash && read_bytes(dash, bytes, 16) == 16 ? SUCCESS : UNKNOWN;
}

EXPORT int cuDeviceGetUuid(unsigned char *bytes, int number) {
    DEVICE(number, bytes);
    const char *dash = strchr(device->gpu->uuid, '-');
    return dash && read_bytes(dash, bytes, 16) == 16 ? SUCCESS : UNKNOWN;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int number) {
    DEVICE(number, bytes);
    const struct gpu_profile *part = part_of(device);
    *bytes = (size_t)(part ? part->memory_mib : device->gpu->memory_mib) << 20;
    return SUCCESS;
}

EXPORT int cuDeviceComputeCapability(int *major, int *minor, int number) {
    DEVICE(number, major && minor);
    *major = device->gpu->cc_major;
    *minor = device->gpu->cc_minor;
    return SUCCESS;
}

EXPORT int cuDeviceGetPCIBusId(char *text, int length, int number) {
    DEVICE(number, text);
    if (length < 13) return INVALID_VALUE;
    snprintf(text, (size_t)length, "%04X:%02X:%02X.0", device->gpu->domain, device->gpu->bus,
             device->gpu->device);
    return SUCCESS;
}

/* Some of CUdevice_attribute. */
EXPORT int cuDeviceGetAttribute(int *out, int attribute, int number) {
    DEVICE(number, out);
    const struct gpu *gpu = device->gpu;
    switch (attribute) {
    case 1: *out = 1024; return SUCCESS; /* threads a block */
    case 10: *out = 32; return SUCCESS;  /* threads a warp */
    case 13: *out = (int)gpu->clock_mhz * 1000; return SUCCESS;
    case 18: *out = gpu->is_integrated; return SUCCESS;
    case 32: *out = gpu->ecc == 1; return SUCCESS;
    case 33: *out = (int)gpu->bus; return SUCCESS;
    case 34: *out = (int)gpu->device; return SUCCESS;
    case 36: *out = (int)gpu->memory_clock_mhz * 1000; return SUCCESS;
    case 50: *out = (int)gpu->domain; return SUCCESS;
    case 75: *out = gpu->cc_major; return SUCCESS;
    case 76: *out = gpu->cc_minor; return SUCCESS;
    }
    return INVALID_VALUE;
}

static const struct {
    int result;
    const char *name, *text;
} ERRORS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

EXPORT int cuGetErrorName(int result, const char **name) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].result == result) return *name = ERRORS[i].name, SUCCESS;
    return *name = 0, INVALID_VALUE;
}

EXPORT int cuGetErrorString(int result, const char **text) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].result == result) return *text = ERRORS[i].text, SUCCESS;
    return *text = 0, INVALID_VALUE;
}
