/* SPDX-License-Identifier: Apache-2.0
 *
 * A library that answers as libnvidia-ml.so.1 would on the machine that a file describes.
 *
 * mock_machine.h describes the file, which is read at the first nvmlInit and at the first one after
 * the last nvmlShutdown.  Without it, nvmlInit says that the driver is not loaded.
 *
 * MOCK_NVML_TRACE=FILE appends a line for each call: process, microseconds, function, result.
 *
 * Names, structures and results are those of nvml.h; the sizes are asserted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "mock_machine.h"

#define API __attribute__((visibility("default")))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

typedef int Result;
enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

/* The structures of nvml.h. */

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} Pci;

typedef struct {
    unsigned version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
    char bus_id[32];
} PciExt;

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} MemoryV2;

typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mib;
} Attributes;

typedef struct {
    unsigned version, value;
} AddressingMode;

typedef struct {
    unsigned char cluster[16];
    Result status;
    unsigned clique;
    unsigned char state;
} Fabric;

typedef struct {
    unsigned version;
    unsigned char cluster[16];
    Result status;
    unsigned clique;
    unsigned char state;
    unsigned health_mask;
} FabricV2;

typedef struct {
    unsigned version;
    unsigned char cluster[16];
    Result status;
    unsigned clique;
    unsigned char state;
    unsigned health_mask;
    unsigned char health_summary;
} FabricV3;

typedef struct {
    unsigned id, p2p, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
} GpuProfileInfo;

typedef struct {
    unsigned version, id, p2p, slices, instances, multiprocessors, copy, decoders, encoders, jpeg,
        ofa;
    unsigned long long memory_mib;
    char name[96];
} GpuProfileInfoV2;

typedef struct {
    unsigned version, id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
    char name[96];
    unsigned capabilities;
} GpuProfileInfoV3;

typedef struct {
    unsigned id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
} ComputeProfileInfo;

typedef struct {
    unsigned version, id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    char name[96];
} ComputeProfileInfoV2;

typedef struct {
    unsigned version, id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    char name[96];
    unsigned capabilities;
} ComputeProfileInfoV3;

typedef struct {
    void *device;
    unsigned id, profile_id, start, size;
} GpuInstanceInfo;

typedef struct {
    void *device, *gpu_instance;
    unsigned id, profile_id, start, size;
} ComputeInstanceInfo;

typedef struct {
    unsigned version, type;
    union {
        char text[41];
        unsigned char bytes[16];
    } value;
} Uuid;

typedef struct {
    unsigned version;
    unsigned char ib_guid[16], chassis[16], slot, tray, host, peer, module;
} Platform;

typedef struct {
    unsigned gpu, memory;
} Utilization;

typedef struct {
    unsigned id, scope;
    long long timestamp, latency_us;
    int type;
    Result result;
    union {
        unsigned number;
        unsigned long long whole;
    } value;
} FieldValue;

_Static_assert(sizeof(Pci) == 68 && offsetof(Pci, bus_id) == 36, "nvmlPciInfo_t");
_Static_assert(sizeof(PciExt) == 64, "nvmlPciInfoExt_v1_t");
_Static_assert(sizeof(Memory) == 24 && sizeof(MemoryV2) == 40, "nvmlMemory_t");
_Static_assert(sizeof(Attributes) == 40, "nvmlDeviceAttributes_t");
_Static_assert(sizeof(AddressingMode) == 8, "nvmlDeviceAddressingMode_t");
_Static_assert(sizeof(Fabric) == 28 && sizeof(FabricV2) == 36, "nvmlGpuFabricInfo_t");
_Static_assert(sizeof(FabricV3) == 40, "nvmlGpuFabricInfo_v3_t");
_Static_assert(sizeof(GpuProfileInfo) == 48, "nvmlGpuInstanceProfileInfo_t");
_Static_assert(sizeof(GpuProfileInfoV2) == 152, "nvmlGpuInstanceProfileInfo_v2_t");
_Static_assert(sizeof(GpuProfileInfoV3) == 152, "nvmlGpuInstanceProfileInfo_v3_t");
_Static_assert(sizeof(ComputeProfileInfo) == 36, "nvmlComputeInstanceProfileInfo_t");
_Static_assert(sizeof(ComputeProfileInfoV2) == 136, "nvmlComputeInstanceProfileInfo_v2_t");
_Static_assert(sizeof(ComputeProfileInfoV3) == 140, "nvmlComputeInstanceProfileInfo_v3_t");
_Static_assert(sizeof(GpuInstanceInfo) == 24, "nvmlGpuInstanceInfo_t");
_Static_assert(sizeof(ComputeInstanceInfo) == 32, "nvmlComputeInstanceInfo_t");
_Static_assert(sizeof(Uuid) == 52, "nvmlUUID_v1_t");
_Static_assert(sizeof(Platform) == 44, "nvmlPlatformInfo_v2_t");
_Static_assert(sizeof(FieldValue) == 40, "nvmlFieldValue_t");

/* NVML_STRUCT_VERSION */
#define VERSION(type, number) ((unsigned)(sizeof(type) | (unsigned)(number) << 24))

static int users;
static FILE *trace;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What every call does: take its time, fail if it has to, leave a line. */

static void take_time(long us) {
    if (us <= 0) return;
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, 0);
}

static Result done(const char *function, Result result) {
    if (trace) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
        fprintf(trace, "%d %lld %s %d\n", getpid(), us, function, result);
    }
    return result;
}

static int is_about(const struct fault *fault, const char *function, int gpu) {
    size_t length = strlen(fault->function);
    const char *rest = function + length;
    return fault->gpu == gpu && !strncmp(fault->function, function, length) &&
           (!*rest || (!strncmp(rest, "_v", 2) && strlen(rest) == 3));
}

static Result fault_of(const char *function, int gpu) {
    for (int i = 0; i < fault_count; i++) {
        if (!is_about(&faults[i], function, gpu)) continue;
        if (faults[i].kind == CRASHES) raise(SIGSEGV);
        while (faults[i].kind == HANGS) pause();
        return faults[i].result;
    }
    return SUCCESS;
}

static Result fault_of_gpu(const char *function, const struct gpu *gpu) {
    Result result = fault_of(function, (int)gpu->place);
    return result || !gpu->is_lost ? result : GPU_IS_LOST;
}

#define RETURN(result) return done(__func__, result)
#define REQUIRE(condition, result) \
    if (!(condition)) RETURN(result)
#define PASS(call) \
    do { \
        Result result_ = call; \
        if (result_) RETURN(result_); \
    } while (0)
#define BEGIN \
    REQUIRE(users, UNINITIALIZED); \
    take_time(call_us); \
    PASS(fault_of(__func__, ANY_GPU))
#define HEALTHY(gpu) PASS(fault_of_gpu(__func__, gpu))
#define SOME(pointer) REQUIRE(pointer, INVALID_ARGUMENT)

/* Handles are the addresses of what they stand for. */

static struct gpu *as_gpu(const void *handle) {
    for (int i = 0; i < gpu_count; i++)
        if (handle == &gpus[i]) return &gpus[i];
    return 0;
}

static struct mig *as_mig(const void *handle) {
    for (int i = 0; i < gpu_count; i++)
        for (int j = 0; j < gpus[i].mig_count; j++)
            if (handle == &gpus[i].migs[j]) return &gpus[i].migs[j];
    return 0;
}

static struct gpu_instance *as_instance(const void *handle) {
    for (int i = 0; i < gpu_count; i++)
        for (int j = 0; j < gpus[i].instance_count; j++)
            if (handle == &gpus[i].instances[j]) return &gpus[i].instances[j];
    return 0;
}

/* A call for whole GPUs, for MIG devices, for both, and for GPU instances. */
#define GPU_ONLY(handle) \
    BEGIN; \
    struct gpu *gpu = as_gpu(handle); \
    REQUIRE(gpu, as_mig(handle) ? NOT_SUPPORTED : INVALID_ARGUMENT); \
    HEALTHY(gpu)
#define MIG_ONLY(handle) \
    BEGIN; \
    struct mig *mig = as_mig(handle); \
    REQUIRE(mig, as_gpu(handle) ? NOT_SUPPORTED : INVALID_ARGUMENT); \
    HEALTHY(mig->gpu)
#define EITHER(handle) \
    BEGIN; \
    struct mig *mig = as_mig(handle); \
    struct gpu *gpu = mig ? mig->gpu : as_gpu(handle); \
    SOME(gpu); \
    HEALTHY(gpu)
#define INSTANCE(handle) \
    BEGIN; \
    struct gpu_instance *instance = as_instance(handle); \
    SOME(instance); \
    HEALTHY(instance->gpu)

static Result put_text(char *target, unsigned length, const char *text) {
    if (!target || !length) return INVALID_ARGUMENT;
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(target, text);
    return SUCCESS;
}

/* A call that gives one number; it fails where the condition does not hold. */
#define NUMBER_OF(function, scope, type, condition, value) \
    API Result function(void *handle, type *out) { \
        scope(handle); \
        SOME(out); \
        REQUIRE(condition, NOT_SUPPORTED); \
        *out = (type)(value); \
        RETURN(SUCCESS); \
    }

/* The library and the system. */

static Result start(const char *function) {
    pthread_mutex_lock(&lock);
    Result result = SUCCESS;
    if (!users) {
        const char *path = getenv("MOCK_NVML_TRACE");
        if (path && *path && !trace && (trace = fopen(path, "ae"))) setvbuf(trace, 0, _IOLBF, 0);
        static const Result results[] = {SUCCESS, DRIVER_NOT_LOADED, NO_PERMISSION, UNKNOWN};
        result = results[read_machine()];
        if (!result) result = fault_of(function, ANY_GPU);
        if (!result) take_time(init_us);
    }
    users += !result;
    pthread_mutex_unlock(&lock);
    return done(function, result);
}

API Result nvmlInit(void) { return start(__func__); }
API Result nvmlInit_v2(void) { return start(__func__); }
API Result nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return start(__func__);
}

API Result nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    Result result = users ? SUCCESS : UNINITIALIZED;
    if (users && !--users)
        for (int i = 0; i < gpu_count; i++) gpus[i].is_attached = 0;
    pthread_mutex_unlock(&lock);
    RETURN(result);
}

API const char *nvmlErrorString(Result result) {
    static const char *const texts[] = {
        "Success",
        "Uninitialized",
        "Invalid Argument",
        "Not Supported",
        "Insufficient Permissions",
        "Already Initialized",
        "Not Found",
        "Insufficient Size",
        "Insufficient External Power",
        "Driver Not Loaded",
        "Timeout",
        "Interrupt Request Issue",
        "NVML Shared Library Not Found",
        "Function Not Found",
        "Corrupted infoROM",
        "GPU is lost",
        "GPU requires reset",
        "GPU access blocked by the operating system",
        "Driver/library version mismatch",
        "In use by another client",
        "Insufficient Memory",
        "No data",
        "ECC on vGPU not supported",
        "Insufficient resources",
        "Frequency not supported",
        "Argument version mismatch",
        "Deprecated",
        "Not Ready",
        "GPU Not Found",
        "Invalid State",
    };
    return result >= 0 && result < (int)LENGTH(texts) ? texts[result] : "Unknown Error";
}

API Result nvmlSystemGetDriverVersion(char *text, unsigned length) {
    BEGIN;
    RETURN(put_text(text, length, driver_version));
}

/* This one needs no nvmlInit. */
API Result nvmlSystemGetNVMLVersion(char *text, unsigned length) {
    PASS(fault_of(__func__, ANY_GPU));
    RETURN(put_text(text, length, nvml_version));
}

#define SYSTEM_NUMBER(function, type, value) \
    API Result function(type *out) { \
        BEGIN; \
        SOME(out); \
        *out = value; \
        RETURN(SUCCESS); \
    }
SYSTEM_NUMBER(nvmlSystemGetCudaDriverVersion, int, cuda_version)
SYSTEM_NUMBER(nvmlSystemGetCudaDriverVersion_v2, int, cuda_version)
SYSTEM_NUMBER(nvmlDeviceGetCount, unsigned, (unsigned)gpu_count)
SYSTEM_NUMBER(nvmlDeviceGetCount_v2, unsigned, (unsigned)gpu_count)
SYSTEM_NUMBER(nvmlGetExcludedDeviceCount, unsigned, 0)
SYSTEM_NUMBER(nvmlUnitGetCount, unsigned, 0)

API Result nvmlSystemGetProcessName(unsigned pid, char *text, unsigned length) {
    BEGIN;
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "re");
    REQUIRE(file, NOT_FOUND);
    if (!fgets(name, sizeof name, file)) name[0] = 0;
    fclose(file);
    name[strcspn(name, "\n")] = 0;
    RETURN(put_text(text, length, name));
}

/* Finding devices. */

static Result give(const char *function, struct gpu *gpu, void *handle, void **out) {
    Result result = fault_of_gpu(function, gpu);
    if (result) return done(function, result);
    if (!gpu->is_attached) take_time(attach_us);
    gpu->is_attached = 1;
    *out = handle;
    return done(function, SUCCESS);
}

static Result by_index(const char *function, unsigned index, void **out) {
    if (!out || index >= (unsigned)gpu_count) return done(function, INVALID_ARGUMENT);
    return give(function, &gpus[index], &gpus[index], out);
}

API Result nvmlDeviceGetHandleByIndex(unsigned index, void **out) {
    BEGIN;
    return by_index(__func__, index, out);
}

API Result nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    BEGIN;
    return by_index(__func__, index, out);
}

API Result nvmlDeviceGetHandleBySerial(const char *serial, void **out) {
    BEGIN;
    REQUIRE(serial && out, INVALID_ARGUMENT);
    for (int i = 0; i < gpu_count; i++)
        if (*serial && !strcmp(gpus[i].serial, serial))
            return give(__func__, &gpus[i], &gpus[i], out);
    RETURN(NOT_FOUND);
}

static Result by_uuid(const char *function, const char *uuid, void **out) {
    if (!uuid || !out) return done(function, INVALID_ARGUMENT);
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *gpu = &gpus[i];
        if (!strcasecmp(gpu->uuid, uuid)) return give(function, gpu, gpu, out);
        for (int j = 0; j < gpu->mig_count; j++) {
            struct mig *mig = &gpu->migs[j];
            char old[160]; /* the form of drivers before 470 */
            snprintf(old, sizeof old, "MIG-%s/%u/%u", gpu->uuid, mig->gi, mig->ci);
            if (!strcasecmp(mig->uuid, uuid) || !strcasecmp(old, uuid))
                return give(function, gpu, mig, out);
        }
    }
    return done(function, NOT_FOUND);
}

API Result nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    BEGIN;
    return by_uuid(__func__, uuid, out);
}

API Result nvmlDeviceGetHandleByUUIDV(const Uuid *uuid, void **out) {
    enum { ASCII = 1, BINARY = 2 };
    BEGIN;
    REQUIRE(uuid && (uuid->type == ASCII || uuid->type == BINARY), INVALID_ARGUMENT);
    if (uuid->type == ASCII) {
        char text[sizeof uuid->value.text + 1] = "";
        memcpy(text, uuid->value.text, sizeof uuid->value.text);
        return by_uuid(__func__, text, out);
    }
    for (int i = 0; i < gpu_count; i++) {
        unsigned char bytes[16];
        const char *dash = strchr(gpus[i].uuid, '-');
        if (dash && read_bytes(dash, bytes, 16) == 16 && !memcmp(bytes, uuid->value.bytes, 16))
            return by_uuid(__func__, gpus[i].uuid, out);
    }
    RETURN(NOT_FOUND);
}

static Result by_bus_id(const char *function, const char *text, void **out) {
    unsigned domain, bus, device;
    if (!text || !out || !read_bus_id(text, &domain, &bus, &device))
        return done(function, INVALID_ARGUMENT);
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *gpu = &gpus[i];
        if (!gpu->has_no_pci && gpu->domain == domain && gpu->bus == bus && gpu->device == device)
            return give(function, gpu, gpu, out);
    }
    return done(function, NOT_FOUND);
}

API Result nvmlDeviceGetHandleByPciBusId(const char *text, void **out) {
    BEGIN;
    return by_bus_id(__func__, text, out);
}

API Result nvmlDeviceGetHandleByPciBusId_v2(const char *text, void **out) {
    BEGIN;
    return by_bus_id(__func__, text, out);
}

/* Who a device is. */

static struct gpu_profile *profile_of(struct gpu *gpu, unsigned number) {
    for (int i = 0; i < gpu->gpu_profile_count; i++)
        if (gpu->gpu_profiles[i].number == number) return &gpu->gpu_profiles[i];
    return 0;
}

static struct compute_profile *compute_profile_of(struct gpu *gpu, unsigned number) {
    for (int i = 0; i < gpu->compute_profile_count; i++)
        if (gpu->compute_profiles[i].number == number) return &gpu->compute_profiles[i];
    return 0;
}

/* "1g.5gb", or "1c.3g.20gb" for a compute instance that is smaller than its GPU instance. */
static void name_part(char *text, size_t length, struct gpu_profile *part, unsigned slices) {
    if (slices == part->slices)
        snprintf(text, length, "MIG %s", part->name);
    else
        snprintf(text, length, "MIG %uc.%s", slices, part->name);
}

API Result nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    EITHER(handle);
    if (!mig) RETURN(put_text(text, length, gpu->name));
    struct gpu_profile *part = profile_of(gpu, mig->gpu_profile);
    struct compute_profile *compute = compute_profile_of(gpu, mig->compute_profile);
    REQUIRE(part && compute, UNKNOWN);
    char name[64], both[192];
    name_part(name, sizeof name, part, compute->slices);
    snprintf(both, sizeof both, "%s %s", gpu->name, name);
    RETURN(put_text(text, length, both));
}

API Result nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    EITHER(handle);
    RETURN(put_text(text, length, mig ? mig->uuid : gpu->uuid));
}

API Result nvmlDeviceGetSerial(void *handle, char *text, unsigned length) {
    GPU_ONLY(handle);
    REQUIRE(gpu->serial[0], NOT_SUPPORTED);
    RETURN(put_text(text, length, gpu->serial));
}

API Result nvmlDeviceGetVbiosVersion(void *handle, char *text, unsigned length) {
    GPU_ONLY(handle);
    REQUIRE(gpu->vbios[0], NOT_SUPPORTED);
    RETURN(put_text(text, length, gpu->vbios));
}

API Result nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    EITHER(handle);
    REQUIRE(major && minor, INVALID_ARGUMENT);
    *major = gpu->cc_major;
    *minor = gpu->cc_minor;
    RETURN(SUCCESS);
}

NUMBER_OF(nvmlDeviceGetIndex, EITHER, unsigned, 1, mig ? mig->index : gpu->index)
NUMBER_OF(nvmlDeviceGetMinorNumber, GPU_ONLY, unsigned, 1, gpu->minor)
NUMBER_OF(nvmlDeviceGetBrand, EITHER, int, 1, gpu->brand)
NUMBER_OF(nvmlDeviceGetArchitecture, EITHER, unsigned, 1, gpu->architecture)
NUMBER_OF(nvmlDeviceGetBoardId, GPU_ONLY, unsigned, 1, gpu->domain << 16 | gpu->bus << 8)
NUMBER_OF(nvmlDeviceGetMultiGpuBoard, GPU_ONLY, unsigned, 1, 0)
NUMBER_OF(nvmlDeviceGetModuleId, GPU_ONLY, unsigned, 1, gpu->index + 1)
NUMBER_OF(nvmlDeviceGetNumaNodeId, GPU_ONLY, unsigned, gpu->numa >= 0, gpu->numa)

static Pci pci_of(const struct gpu *gpu) {
    Pci pci = {.domain = gpu->domain, .bus = gpu->bus, .device = gpu->device};
    pci.device_id = gpu->device_id;
    pci.subsystem_id = gpu->subsystem_id;
    snprintf(pci.bus_id_legacy, sizeof pci.bus_id_legacy, "%04X:%02X:%02X.0", gpu->domain & 0xffff,
             gpu->bus & 0xff, gpu->device & 0xff);
    snprintf(pci.bus_id, sizeof pci.bus_id, "%08X:%02X:%02X.0", gpu->domain, gpu->bus, gpu->device);
    return pci;
}

/* The older ones are the beginning of the newest. */
#define PCI_INFO(function, size) \
    API Result function(void *handle, Pci *out) { \
        GPU_ONLY(handle); \
        SOME(out); \
        REQUIRE(!gpu->has_no_pci, NOT_SUPPORTED); \
        Pci pci = pci_of(gpu); \
        memcpy(out, &pci, size); \
        RETURN(SUCCESS); \
    }
PCI_INFO(nvmlDeviceGetPciInfo, 32)
PCI_INFO(nvmlDeviceGetPciInfo_v2, 36)
PCI_INFO(nvmlDeviceGetPciInfo_v3, sizeof pci)

API Result nvmlDeviceGetPciInfoExt(void *handle, PciExt *out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(out->version == VERSION(PciExt, 1), ARGUMENT_VERSION_MISMATCH);
    REQUIRE(!gpu->has_no_pci, NOT_SUPPORTED);
    Pci pci = pci_of(gpu);
    PciExt info = {.version = out->version, .domain = pci.domain, .bus = pci.bus};
    info.device = pci.device;
    info.device_id = pci.device_id;
    info.subsystem_id = pci.subsystem_id;
    info.base_class = 3;
    info.sub_class = 2;
    memcpy(info.bus_id, pci.bus_id, sizeof info.bus_id);
    *out = info;
    RETURN(SUCCESS);
}

/* Memory, and what changes as a GPU works: constants. */

static unsigned long long memory_of(struct gpu *gpu, struct mig *mig) {
    struct gpu_profile *part = mig ? profile_of(gpu, mig->gpu_profile) : 0;
    return (part ? part->memory_mib : gpu->memory_mib) << 20;
}

static const unsigned long long used = 512ULL << 20;

/* Who may use some of a GPU's MIG devices alone is not told of the memory of the whole. */
#define MEMORY_OF(handle) \
    EITHER(handle); \
    SOME(out); \
    REQUIRE(!gpu->is_integrated && gpu->memory_mib, NOT_SUPPORTED); \
    REQUIRE(mig || !gpu->has_hidden_parts, NO_PERMISSION)

API Result nvmlDeviceGetMemoryInfo(void *handle, Memory *out) {
    MEMORY_OF(handle);
    unsigned long long total = memory_of(gpu, mig);
    REQUIRE(total, NOT_SUPPORTED);
    *out = (Memory){total, total - used, used};
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *out) {
    MEMORY_OF(handle);
    REQUIRE(out->version == VERSION(MemoryV2, 2), ARGUMENT_VERSION_MISMATCH);
    unsigned long long total = memory_of(gpu, mig);
    REQUIRE(total, NOT_SUPPORTED);
    *out = (MemoryV2){out->version, total, used, total - used, 0};
    RETURN(SUCCESS);
}

/* A MIG device has its part of it: placements are counted in eighths. */
API Result nvmlDeviceGetBAR1MemoryInfo(void *handle, Memory *out) {
    MEMORY_OF(handle);
    REQUIRE(gpu->bar1_mib, NOT_SUPPORTED);
    unsigned long long total = gpu->bar1_mib << 20;
    if (mig) total = total / 8 * mig->size;
    *out = (Memory){total, total, 0};
    RETURN(SUCCESS);
}

NUMBER_OF(nvmlDeviceGetPersistenceMode, GPU_ONLY, int, !gpu->is_integrated, 1)
NUMBER_OF(nvmlDeviceGetDisplayMode, GPU_ONLY, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetDisplayActive, GPU_ONLY, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetComputeMode, EITHER, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetAccountingMode, GPU_ONLY, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetAccountingBufferSize, GPU_ONLY, unsigned, !gpu->is_integrated, 4000)
NUMBER_OF(nvmlDeviceGetFanSpeed, GPU_ONLY, unsigned, gpu->fan >= 0, gpu->fan)
NUMBER_OF(nvmlDeviceGetPowerState, GPU_ONLY, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetPerformanceState, GPU_ONLY, int, !gpu->is_integrated, 0)
NUMBER_OF(nvmlDeviceGetCurrentClocksEventReasons, GPU_ONLY, unsigned long long,
          !gpu->is_integrated, 1)
NUMBER_OF(nvmlDeviceGetCurrentClocksThrottleReasons, GPU_ONLY, unsigned long long,
          !gpu->is_integrated, 1)
NUMBER_OF(nvmlDeviceGetMaxPcieLinkGeneration, GPU_ONLY, unsigned, gpu->pcie_gen, gpu->pcie_gen)
NUMBER_OF(nvmlDeviceGetCurrPcieLinkGeneration, GPU_ONLY, unsigned, gpu->pcie_gen, gpu->pcie_gen)
NUMBER_OF(nvmlDeviceGetMaxPcieLinkWidth, GPU_ONLY, unsigned, gpu->pcie_gen, 16)
NUMBER_OF(nvmlDeviceGetCurrPcieLinkWidth, GPU_ONLY, unsigned, gpu->pcie_gen, 16)

/* Milliwatts; one that does nothing takes an eighth of what it may. */
#define POWER_OF(function, watts) \
    NUMBER_OF(function, GPU_ONLY, unsigned, gpu->power_limit_w, (watts) * 1000)
POWER_OF(nvmlDeviceGetPowerUsage, gpu->power_limit_w / 8)
POWER_OF(nvmlDeviceGetPowerManagementLimit, gpu->power_limit_w)
POWER_OF(nvmlDeviceGetEnforcedPowerLimit, gpu->power_limit_w)
POWER_OF(nvmlDeviceGetPowerManagementDefaultLimit, gpu->power_limit_w)

API Result nvmlDeviceGetPowerManagementLimitConstraints(void *handle, unsigned *least,
                                                        unsigned *most) {
    GPU_ONLY(handle);
    REQUIRE(least && most, INVALID_ARGUMENT);
    REQUIRE(gpu->power_limit_w, NOT_SUPPORTED);
    *most = gpu->power_limit_w * 1000;
    *least = *most / 4;
    RETURN(SUCCESS);
}

/* Graphics, processors, memory, video. */
static unsigned clock_of(const struct gpu *gpu, int kind) {
    enum { MEMORY = 2 };
    return kind == MEMORY ? gpu->memory_clock_mhz : gpu->clock_mhz;
}

#define CLOCK_OF(function, part) \
    API Result function(void *handle, int kind, unsigned *out) { \
        GPU_ONLY(handle); \
        REQUIRE(out && kind >= 0 && kind < 4, INVALID_ARGUMENT); \
        REQUIRE(clock_of(gpu, kind), NOT_SUPPORTED); \
        *out = clock_of(gpu, kind) / (part); \
        RETURN(SUCCESS); \
    }
CLOCK_OF(nvmlDeviceGetClockInfo, kind == 2 ? 1 : 5)
CLOCK_OF(nvmlDeviceGetMaxClockInfo, 1)

API Result nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out) {
    GPU_ONLY(handle);
    REQUIRE(out && !sensor, INVALID_ARGUMENT);
    REQUIRE(!gpu->is_integrated, NOT_SUPPORTED);
    *out = 35;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetUtilizationRates(void *handle, Utilization *out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->mig_mode != 1 && !gpu->is_integrated, NOT_SUPPORTED);
    *out = (Utilization){0, 0};
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetEccMode(void *handle, int *current, int *pending) {
    GPU_ONLY(handle);
    REQUIRE(current && pending, INVALID_ARGUMENT);
    REQUIRE(gpu->ecc >= 0, NOT_SUPPORTED);
    *current = *pending = gpu->ecc;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetTotalEccErrors(void *handle, int kind, int since, unsigned long long *out) {
    EITHER(handle);
    REQUIRE(out && kind >= 0 && kind < 2 && since >= 0 && since < 2, INVALID_ARGUMENT);
    REQUIRE(gpu->ecc == 1, NOT_SUPPORTED);
    *out = 0;
    RETURN(SUCCESS);
}

/* Rows are remapped by architectures from Ampere on. */
API Result nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected,
                                     unsigned *is_pending, unsigned *has_failed) {
    enum { AMPERE = 7 };
    GPU_ONLY(handle);
    REQUIRE(corrected && uncorrected && is_pending && has_failed, INVALID_ARGUMENT);
    REQUIRE(gpu->ecc >= 0 && gpu->architecture >= AMPERE, NOT_SUPPORTED);
    *corrected = *uncorrected = *is_pending = *has_failed = 0;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetFieldValues(void *handle, int count, FieldValue *values) {
    enum { RECOVERY_ACTION = 230, UNSIGNED = 1 };
    GPU_ONLY(handle);
    REQUIRE(values && count >= 0, INVALID_ARGUMENT);
    for (int i = 0; i < count; i++) {
        values[i].result = values[i].id == RECOVERY_ACTION ? SUCCESS : NOT_SUPPORTED;
        values[i].type = UNSIGNED;
        values[i].timestamp = values[i].latency_us = 0;
        values[i].value.whole = (unsigned)gpu->recovery;
    }
    RETURN(SUCCESS);
}

/* Where a GPU is, whatever its state: nvidia-smi knows that from its driver in another way. */
API Result nvmlInternalGetBusId(unsigned index, char *text, unsigned length) {
    if (index >= (unsigned)gpu_count) return NOT_FOUND;
    struct gpu *gpu = &gpus[index];
    snprintf(text, length, "%04X:%02X:%02X.0", gpu->domain, gpu->bus, gpu->device);
    return SUCCESS;
}

#define NO_PROCESSES(function) \
    API Result function(void *handle, unsigned *count, void *processes) { \
        EITHER(handle); \
        SOME(count); \
        (void)processes; \
        *count = 0; \
        RETURN(SUCCESS); \
    }
NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

/* How a GPU is tied to the CPU and to others. */

API Result nvmlDeviceGetAddressingMode(void *handle, AddressingMode *out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(out->version == VERSION(AddressingMode, 1), ARGUMENT_VERSION_MISMATCH);
    REQUIRE(gpu->addressing >= 0, NOT_SUPPORTED);
    out->value = (unsigned)gpu->addressing;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetGpuFabricInfo(void *handle, Fabric *out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->fabric_state >= 0, NOT_SUPPORTED);
    memcpy(out->cluster, gpu->fabric_cluster, sizeof out->cluster);
    out->status = gpu->fabric_status;
    out->clique = gpu->fabric_clique;
    out->state = (unsigned char)gpu->fabric_state;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetGpuFabricInfoV(void *handle, FabricV3 *out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->fabric_state >= 0, NOT_SUPPORTED);
    int is_v3 = out->version == VERSION(FabricV3, 3);
    REQUIRE(is_v3 || out->version == VERSION(FabricV2, 2), ARGUMENT_VERSION_MISMATCH);
    memcpy(out->cluster, gpu->fabric_cluster, sizeof out->cluster);
    out->status = gpu->fabric_status;
    out->clique = gpu->fabric_clique;
    out->state = (unsigned char)gpu->fabric_state;
    out->health_mask = 0;
    if (is_v3) out->health_summary = 1;
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetPlatformInfo(void *handle, Platform *out) {
    enum { ATS = 2 };
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->addressing == ATS, NOT_SUPPORTED);
    Platform info = {.version = out->version, .slot = 1};
    info.module = (unsigned char)(gpu->index + 1);
    *out = info;
    RETURN(SUCCESS);
}

/* MIG: devices. */

API Result nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    EITHER(handle);
    REQUIRE(current && pending, INVALID_ARGUMENT);
    REQUIRE(gpu->mig_mode >= 0, NOT_SUPPORTED);
    *current = *pending = (unsigned)gpu->mig_mode;
    RETURN(SUCCESS);
}

NUMBER_OF(nvmlDeviceIsMigDeviceHandle, EITHER, unsigned, 1, mig != 0)
NUMBER_OF(nvmlDeviceGetMaxMigDeviceCount, GPU_ONLY, unsigned, 1,
          gpu->mig_mode == 1 ? gpu->most_migs : 0)
NUMBER_OF(nvmlDeviceGetGpuInstanceId, MIG_ONLY, unsigned, 1, mig->gi)
NUMBER_OF(nvmlDeviceGetComputeInstanceId, MIG_ONLY, unsigned, 1, mig->ci)
NUMBER_OF(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, MIG_ONLY, void *, 1, mig->gpu)

API Result nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->mig_mode == 1, NOT_SUPPORTED);
    for (int i = 0; i < gpu->mig_count; i++) {
        if (gpu->migs[i].index != index) continue;
        *out = &gpu->migs[i];
        RETURN(SUCCESS);
    }
    RETURN(NOT_FOUND);
}

API Result nvmlDeviceGetAttributes_v2(void *handle, Attributes *out) {
    MIG_ONLY(handle);
    SOME(out);
    struct gpu_profile *part = profile_of(mig->gpu, mig->gpu_profile);
    struct compute_profile *compute = compute_profile_of(mig->gpu, mig->compute_profile);
    REQUIRE(part && compute && part->slices, UNKNOWN);
    *out = (Attributes){.multiprocessors = part->multiprocessors * compute->slices / part->slices,
                        .copy = part->slices,
                        .gpu_slices = part->slices,
                        .compute_slices = compute->slices,
                        .memory_mib = part->memory_mib};
    RETURN(SUCCESS);
}

/* MIG: GPU instances. */

API Result nvmlDeviceGetGpuInstanceProfileInfo(void *handle, unsigned number, GpuProfileInfo *out) {
    GPU_ONLY(handle);
    REQUIRE(out && number < PROFILE_ENUMS, INVALID_ARGUMENT);
    struct gpu_profile *part = profile_of(gpu, number);
    REQUIRE(gpu->mig_mode >= 0 && part, NOT_SUPPORTED);
    *out = (GpuProfileInfo){.id = part->id,
                            .slices = part->slices,
                            .instances = part->instances,
                            .multiprocessors = part->multiprocessors,
                            .copy = part->slices,
                            .memory_mib = part->memory_mib};
    RETURN(SUCCESS);
}

static Result put_profile(struct gpu *gpu, struct gpu_profile *part, unsigned *out) {
    enum { GRAPHICS = 2 };
    if (gpu->mig_mode < 0 || !part) return NOT_SUPPORTED;
    if (*out == VERSION(GpuProfileInfoV2, 2)) {
        GpuProfileInfoV2 info = {.version = *out, .id = part->id, .slices = part->slices};
        info.instances = part->instances;
        info.multiprocessors = part->multiprocessors;
        info.copy = part->slices;
        info.memory_mib = part->memory_mib;
        name_part(info.name, sizeof info.name, part, part->slices);
        memcpy(out, &info, sizeof info);
        return SUCCESS;
    }
    if (*out == VERSION(GpuProfileInfoV3, 3)) {
        GpuProfileInfoV3 info = {.version = *out, .id = part->id, .slices = part->slices};
        info.instances = part->instances;
        info.multiprocessors = part->multiprocessors;
        info.copy = part->slices;
        info.memory_mib = part->memory_mib;
        info.capabilities = strstr(part->name, "gfx") ? GRAPHICS : 0;
        name_part(info.name, sizeof info.name, part, part->slices);
        memcpy(out, &info, sizeof info);
        return SUCCESS;
    }
    return ARGUMENT_VERSION_MISMATCH;
}

API Result nvmlDeviceGetGpuInstanceProfileInfoV(void *handle, unsigned number, unsigned *out) {
    GPU_ONLY(handle);
    REQUIRE(out && number < PROFILE_ENUMS, INVALID_ARGUMENT);
    RETURN(put_profile(gpu, profile_of(gpu, number), out));
}

API Result nvmlDeviceGetGpuInstanceProfileInfoByIdV(void *handle, unsigned id, unsigned *out) {
    GPU_ONLY(handle);
    SOME(out);
    struct gpu_profile *part = 0;
    for (int i = 0; i < gpu->gpu_profile_count; i++)
        if (gpu->gpu_profiles[i].id == id) part = &gpu->gpu_profiles[i];
    RETURN(put_profile(gpu, part, out));
}

static unsigned id_of(const struct gpu_instance *instance) {
    struct gpu_profile *part = profile_of(instance->gpu, instance->profile);
    return part ? part->id : 0;
}

API Result nvmlDeviceGetGpuInstances(void *handle, unsigned id, void **out, unsigned *count) {
    GPU_ONLY(handle);
    SOME(count);
    REQUIRE(gpu->mig_mode == 1, NOT_SUPPORTED);
    *count = 0;
    for (int i = 0; i < gpu->instance_count; i++)
        if (id_of(&gpu->instances[i]) == id) out[(*count)++] = &gpu->instances[i];
    RETURN(SUCCESS);
}

API Result nvmlDeviceGetGpuInstanceById(void *handle, unsigned id, void **out) {
    GPU_ONLY(handle);
    SOME(out);
    REQUIRE(gpu->mig_mode == 1, NOT_SUPPORTED);
    for (int i = 0; i < gpu->instance_count; i++) {
        if (gpu->instances[i].id != id) continue;
        *out = &gpu->instances[i];
        RETURN(SUCCESS);
    }
    RETURN(NOT_FOUND);
}

API Result nvmlGpuInstanceGetInfo(void *handle, GpuInstanceInfo *out) {
    INSTANCE(handle);
    SOME(out);
    *out = (GpuInstanceInfo){instance->gpu, instance->id, id_of(instance), instance->start,
                             instance->size};
    RETURN(SUCCESS);
}

/* MIG: compute instances. */

static Result find_compute(struct gpu_instance *instance, unsigned number, unsigned engine,
                           struct gpu_profile **part, struct compute_profile **compute) {
    if (number >= COMPUTE_ENUMS || engine) return INVALID_ARGUMENT;
    *part = profile_of(instance->gpu, instance->profile);
    *compute = compute_profile_of(instance->gpu, number);
    return *part && *compute && (*compute)->slices <= (*part)->slices ? SUCCESS : NOT_SUPPORTED;
}

API Result nvmlGpuInstanceGetComputeInstanceProfileInfo(void *handle, unsigned number,
                                                        unsigned engine, ComputeProfileInfo *out) {
    INSTANCE(handle);
    SOME(out);
    struct gpu_profile *part;
    struct compute_profile *compute;
    PASS(find_compute(instance, number, engine, &part, &compute));
    *out = (ComputeProfileInfo){.id = compute->id,
                                .slices = compute->slices,
                                .instances = part->slices / compute->slices,
                                .multiprocessors =
                                    part->multiprocessors * compute->slices / part->slices,
                                .copy = part->slices};
    RETURN(SUCCESS);
}

API Result nvmlGpuInstanceGetComputeInstanceProfileInfoV(void *handle, unsigned number,
                                                         unsigned engine, unsigned *out) {
    INSTANCE(handle);
    SOME(out);
    struct gpu_profile *part;
    struct compute_profile *compute;
    PASS(find_compute(instance, number, engine, &part, &compute));
    ComputeProfileInfoV3 info = {.version = *out, .id = compute->id, .slices = compute->slices};
    info.instances = part->slices / compute->slices;
    info.multiprocessors = part->multiprocessors * compute->slices / part->slices;
    info.copy = part->slices;
    name_part(info.name, sizeof info.name, part, compute->slices);
    if (*out == VERSION(ComputeProfileInfoV2, 2))
        memcpy(out, &info, sizeof(ComputeProfileInfoV2));
    else if (*out == VERSION(ComputeProfileInfoV3, 3))
        memcpy(out, &info, sizeof info);
    else
        RETURN(ARGUMENT_VERSION_MISMATCH);
    RETURN(SUCCESS);
}

API Result nvmlGpuInstanceGetComputeInstances(void *handle, unsigned id, void **out,
                                              unsigned *count) {
    INSTANCE(handle);
    SOME(count);
    *count = 0;
    for (int i = 0; i < instance->gpu->mig_count; i++) {
        struct mig *mig = &instance->gpu->migs[i];
        struct compute_profile *compute = compute_profile_of(mig->gpu, mig->compute_profile);
        if (mig->instance == instance && compute && compute->id == id) out[(*count)++] = mig;
    }
    RETURN(SUCCESS);
}

API Result nvmlGpuInstanceGetComputeInstanceById(void *handle, unsigned id, void **out) {
    INSTANCE(handle);
    SOME(out);
    for (int i = 0; i < instance->gpu->mig_count; i++) {
        struct mig *mig = &instance->gpu->migs[i];
        if (mig->instance != instance || mig->ci != id) continue;
        *out = mig;
        RETURN(SUCCESS);
    }
    RETURN(NOT_FOUND);
}

/* The older one is the beginning of the newer. */
#define COMPUTE_INFO(function, length) \
    API Result function(void *handle, ComputeInstanceInfo *out) { \
        MIG_ONLY(handle); \
        SOME(out); \
        struct compute_profile *compute = compute_profile_of(mig->gpu, mig->compute_profile); \
        ComputeInstanceInfo info = {mig->gpu, mig->instance, mig->ci, compute ? compute->id : 0, \
                                    mig->ci, compute ? compute->slices : 0}; \
        memcpy(out, &info, length); \
        RETURN(SUCCESS); \
    }
COMPUTE_INFO(nvmlComputeInstanceGetInfo, 24)
COMPUTE_INFO(nvmlComputeInstanceGetInfo_v2, sizeof info)
