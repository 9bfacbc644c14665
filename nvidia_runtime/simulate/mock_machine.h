/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine that the simulated libraries speak of, as a file describes it.
 *
 * The file is $MOCK_NVML_CONFIG, or mock-nvml.conf in the folder of the library, or
 * /etc/mock-nvml.conf.  Where there is none, as in a container, which gets the library alone, it is
 * what the library carries at its own end: the text, the word MARK, and the text's length in ten
 * digits.
 *
 * It has lines "key = value" in sections, and comments after '#':
 *   [system]  driver_version, nvml_version, cuda_version;
 *             sees = nodes: what there is, is decided by the nodes that can be opened, as the driver
 *             does it in a container; GPUs and MIG devices are counted anew, from 0;
 *             init_us, attach_us, call_us: microseconds that nvmlInit, the first use of each GPU
 *             after it, and every other call take;
 *             fail = FUNCTION:RESULT[@GPU], hang = FUNCTION[@GPU], crash = FUNCTION[@GPU]: again
 *             for each; GPU is an index, and nvmlInit means nvmlInit_v2 too
 *   [gpu]     again for each, in the order of indices: uuid, name, minor, bus_id, pci_device_id,
 *             pci_subsystem_id, memory_mib, arch, brand, cc, serial, numa, lost, pci = unsupported,
 *             integrated (a part of a SoC), power_limit_w, clock_mhz, memory_clock_mhz (the most of
 *             each), vbios, ecc = unsupported, disabled or enabled, pcie_gen, bar1_mib, fan (percent),
 *             recovery = none, reset, reboot, drain_p2p or drain_and_reset,
 *             mig = unsupported, disabled or enabled, max_mig,
 *             addressing = unsupported, none, hmm or ats,
 *             fabric_state, fabric_status, fabric_clique, fabric_cluster,
 *             gi_profile = ENUM ID SLICES INSTANCES PROCESSORS MEMORY_MIB NAME, again for each,
 *             ci_profile = ENUM ID SLICES, again for each
 *   [mig]     a MIG device of the GPU above: index, uuid, gi, ci, gi_profile and ci_profile (their
 *             ENUMs), start, size
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK "mock-machine:"

/* The machine. */

#define MOST_GPUS 32
#define MOST_MIGS 8
#define MOST_PROFILES 20
#define MOST_FAULTS 32
#define PROFILE_ENUMS 0x12
#define COMPUTE_ENUMS 9

struct gpu_profile {
    unsigned number, id, slices, instances, multiprocessors;
    unsigned long long memory_mib;
    char name[32];
};

struct compute_profile {
    unsigned number, id, slices;
};

struct gpu;

struct gpu_instance {
    struct gpu *gpu;
    unsigned id, profile, start, size;
};

struct mig {
    struct gpu *gpu;
    struct gpu_instance *instance;
    unsigned index, gi, ci, gpu_profile, compute_profile, start, size;
    char uuid[96];
};

struct gpu {
    char uuid[96], name[96], serial[32], vbios[32];
    unsigned index, place, minor, domain, bus, device, device_id, subsystem_id;
    unsigned long long memory_mib, bar1_mib;
    unsigned architecture, brand, power_limit_w, clock_mhz, memory_clock_mhz, pcie_gen;
    int cc_major, cc_minor, numa, addressing, has_no_pci, is_integrated, is_lost, is_attached;
    int fan;              /* percent; -1: it has none */
    int ecc;              /* -1: not supported */
    int recovery;         /* NVML_GPU_RECOVERY_ACTION_... */
    int has_hidden_parts; /* some of its MIG devices are not to be seen */
    int mig_mode, most_migs; /* -1: not supported */
    int fabric_state, fabric_status;
    unsigned fabric_clique;
    unsigned char fabric_cluster[16];
    struct gpu_profile gpu_profiles[MOST_PROFILES];
    struct compute_profile compute_profiles[MOST_PROFILES];
    struct mig migs[MOST_MIGS];
    struct gpu_instance instances[MOST_MIGS];
    int gpu_profile_count, compute_profile_count, mig_count, instance_count;
};

enum kind { FAILS, HANGS, CRASHES };
enum { ANY_GPU = -1 };

struct fault {
    char function[80];
    enum kind kind;
    int result;
    int gpu;
};

static struct gpu gpus[MOST_GPUS];
static struct fault faults[MOST_FAULTS];
static char driver_version[80], nvml_version[80];
static int gpu_count, fault_count, cuda_version, sees_by_nodes;
static long init_us, attach_us, call_us;

/* Reading the file. */

static int read_bytes(const char *text, unsigned char *bytes, int most) {
    int count = 0;
    while (*text && count < most) {
        unsigned value;
        if (*text == '-') {
            text++;
            continue;
        }
        if (sscanf(text, "%2x", &value) != 1) break;
        bytes[count++] = (unsigned char)value;
        text += text[1] ? 2 : 1;
    }
    return count;
}

static int read_bus_id(const char *text, unsigned *domain, unsigned *bus, unsigned *device) {
    unsigned function;
    if (sscanf(text, "%x:%x:%x.%x", domain, bus, device, &function) >= 3) return 1;
    *domain = 0;
    return sscanf(text, "%x:%x.%x", bus, device, &function) >= 2;
}

/* Open what the library carries at its end, where the text begins. */
static FILE *open_own(const char *library) {
    enum { DIGITS = 10 };
    char end[sizeof MARK + DIGITS] = "";
    long length = sizeof end - 1;
    FILE *file = fopen(library, "re");
    if (!file) return 0;
    if (!fseek(file, -length, SEEK_END) && fread(end, 1, length, file) == (size_t)length &&
        !memcmp(end, MARK, sizeof MARK - 1) &&
        !fseek(file, -length - atol(end + sizeof MARK - 1), SEEK_END))
        return file;
    fclose(file);
    return 0;
}

static FILE *open_settings(void) {
    const char *named = getenv("MOCK_NVML_CONFIG");
    if (named && *named) return fopen(named, "re");
    Dl_info library;
    char path[PATH_MAX + 32] = "";
    FILE *file = 0;
    if (dladdr((void *)open_settings, &library) && realpath(library.dli_fname, path)) {
        char *name = strrchr(path, '/');
        char own[sizeof path];
        strcpy(own, path);
        strcpy(name, "/mock-nvml.conf");
        if (!(file = fopen(path, "re"))) file = fopen("/etc/mock-nvml.conf", "re");
        return file ? file : open_own(own);
    }
    return fopen("/etc/mock-nvml.conf", "re");
}

static void add_fault(enum kind kind, char *text) {
    if (fault_count == MOST_FAULTS) return;
    struct fault *fault = &faults[fault_count++];
    char *gpu = strchr(text, '@'), *result = strchr(text, ':');
    fault->kind = kind;
    fault->gpu = gpu ? atoi(gpu + 1) : ANY_GPU;
    fault->result = result ? atoi(result + 1) : 999;
    text[strcspn(text, ":@")] = 0;
    snprintf(fault->function, sizeof fault->function, "%s", text);
}

static void add_gpu_profile(struct gpu *gpu, const char *text) {
    struct gpu_profile *new = &gpu->gpu_profiles[gpu->gpu_profile_count];
    if (gpu->gpu_profile_count < MOST_PROFILES &&
        sscanf(text, "%u %u %u %u %u %llu %31s", &new->number, &new->id, &new->slices,
               &new->instances, &new->multiprocessors, &new->memory_mib, new->name) == 7)
        gpu->gpu_profile_count++;
}

static void add_compute_profile(struct gpu *gpu, const char *text) {
    struct compute_profile *new = &gpu->compute_profiles[gpu->compute_profile_count];
    if (gpu->compute_profile_count < MOST_PROFILES &&
        sscanf(text, "%u %u %u", &new->number, &new->id, &new->slices) == 3)
        gpu->compute_profile_count++;
}

/* Find a word in a list that ends with 0; -1 if it is not in it. */
static int position(const char *word, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], word)) return i;
    return -1;
}

#define IS(name) (!strcmp(key, name))
#define TEXT(name, field) \
    if (IS(name)) snprintf(field, sizeof field, "%s", value)
#define NUMBER(name, field) \
    if (IS(name)) field = strtoll(value, 0, 0)

static void set_system(const char *key, char *value) {
    TEXT("driver_version", driver_version);
    TEXT("nvml_version", nvml_version);
    NUMBER("cuda_version", cuda_version);
    if (IS("sees")) sees_by_nodes = !strcmp(value, "nodes");
    NUMBER("init_us", init_us);
    NUMBER("attach_us", attach_us);
    NUMBER("call_us", call_us);
    if (IS("fail")) add_fault(FAILS, value);
    if (IS("hang")) add_fault(HANGS, value);
    if (IS("crash")) add_fault(CRASHES, value);
}

static void set_gpu(struct gpu *gpu, const char *key, const char *value) {
    static const char *const modes[] = {"disabled", "enabled", 0};
    static const char *const addressings[] = {"none", "hmm", "ats", 0};
    static const char *const recoveries[] = {"none",      "reset",           "reboot",
                                             "drain_p2p", "drain_and_reset", 0};
    TEXT("uuid", gpu->uuid);
    TEXT("name", gpu->name);
    TEXT("serial", gpu->serial);
    TEXT("vbios", gpu->vbios);
    NUMBER("power_limit_w", gpu->power_limit_w);
    NUMBER("clock_mhz", gpu->clock_mhz);
    NUMBER("memory_clock_mhz", gpu->memory_clock_mhz);
    NUMBER("pcie_gen", gpu->pcie_gen);
    NUMBER("bar1_mib", gpu->bar1_mib);
    NUMBER("fan", gpu->fan);
    NUMBER("integrated", gpu->is_integrated);
    NUMBER("minor", gpu->minor);
    NUMBER("memory_mib", gpu->memory_mib);
    NUMBER("pci_device_id", gpu->device_id);
    NUMBER("pci_subsystem_id", gpu->subsystem_id);
    NUMBER("arch", gpu->architecture);
    NUMBER("brand", gpu->brand);
    NUMBER("numa", gpu->numa);
    NUMBER("lost", gpu->is_lost);
    NUMBER("max_mig", gpu->most_migs);
    NUMBER("fabric_state", gpu->fabric_state);
    NUMBER("fabric_status", gpu->fabric_status);
    NUMBER("fabric_clique", gpu->fabric_clique);
    if (IS("fabric_cluster")) read_bytes(value, gpu->fabric_cluster, 16);
    if (IS("bus_id")) read_bus_id(value, &gpu->domain, &gpu->bus, &gpu->device);
    if (IS("cc")) sscanf(value, "%d.%d", &gpu->cc_major, &gpu->cc_minor);
    if (IS("pci")) gpu->has_no_pci = !strcmp(value, "unsupported");
    if (IS("mig")) gpu->mig_mode = position(value, modes);
    if (IS("ecc")) gpu->ecc = position(value, modes);
    if (IS("recovery")) gpu->recovery = position(value, recoveries);
    if (IS("addressing")) gpu->addressing = position(value, addressings);
    if (IS("gi_profile")) add_gpu_profile(gpu, value);
    if (IS("ci_profile")) add_compute_profile(gpu, value);
}

static void set_mig(struct mig *mig, const char *key, const char *value) {
    TEXT("uuid", mig->uuid);
    NUMBER("index", mig->index);
    NUMBER("gi", mig->gi);
    NUMBER("ci", mig->ci);
    NUMBER("gi_profile", mig->gpu_profile);
    NUMBER("ci_profile", mig->compute_profile);
    NUMBER("start", mig->start);
    NUMBER("size", mig->size);
}

/* Give every MIG device its GPU instance, which others may share. */
static void join_instances(struct gpu *gpu) {
    for (int i = 0; i < gpu->mig_count; i++) {
        struct mig *mig = &gpu->migs[i];
        for (int j = 0; j < gpu->instance_count; j++)
            if (gpu->instances[j].id == mig->gi) mig->instance = &gpu->instances[j];
        if (mig->instance) continue;
        mig->instance = &gpu->instances[gpu->instance_count++];
        *mig->instance =
            (struct gpu_instance){gpu, mig->gi, mig->gpu_profile, mig->start, mig->size};
    }
}

static char *trimmed(char *text) {
    text += strspn(text, " \t");
    for (char *end = text + strlen(text); end > text && strchr(" \t\n", end[-1]);) *--end = 0;
    return text;
}

/* Why a node cannot be opened; 0 if it can, or if there is just no driver behind it. */
static int refused(const char *path, int flags) {
    int descriptor = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    if (descriptor >= 0) close(descriptor);
    if (descriptor >= 0) return 0;
    return errno == ENOENT || errno == EPERM || errno == EACCES ? errno : 0;
}

static int sees_gpu(const struct gpu *gpu) {
    char path[32];
    snprintf(path, sizeof path, "/dev/nvidia%u", gpu->minor);
    return !refused(path, O_RDWR);
}

/* Whether the nodes of both instances can be opened; their minors are a fixed table. */
static int sees_mig(const struct mig *mig) {
    unsigned instance = 3 + mig->gpu->minor * 135 + mig->gi * 9;
    unsigned minors[] = {instance, instance + 1 + mig->ci};
    for (int i = 0; i < 2; i++) {
        char path[48];
        snprintf(path, sizeof path, "/dev/nvidia-caps/nvidia-cap%u", minors[i]);
        if (refused(path, O_RDONLY)) return 0;
    }
    return 1;
}

enum reading { READ, NO_DRIVER, NO_RIGHT, FORBIDDEN };

/* Leave out what has no node that can be opened. */
static enum reading keep_what_is_seen(void) {
    if (!access("/dev/dxg", F_OK)) return READ;
    int reason = refused("/dev/nvidiactl", O_RDWR);
    if (reason) return reason == ENOENT ? NO_DRIVER : reason == EACCES ? NO_RIGHT : FORBIDDEN;
    int kept = 0;
    for (int i = 0; i < gpu_count; i++) {
        if (!sees_gpu(&gpus[i])) continue;
        gpus[kept] = gpus[i];
        gpus[kept].index = (unsigned)kept;
        kept++;
    }
    gpu_count = kept;
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *gpu = &gpus[i];
        int seen = 0;
        for (int j = 0; j < gpu->mig_count; j++) {
            gpu->migs[j].gpu = gpu;
            if (!sees_mig(&gpu->migs[j])) continue;
            gpu->migs[seen] = gpu->migs[j];
            gpu->migs[seen].index = (unsigned)seen;
            seen++;
        }
        gpu->has_hidden_parts = seen < gpu->mig_count;
        gpu->mig_count = seen;
    }
    return READ;
}

static enum reading read_machine(void) {
    FILE *file = open_settings();
    if (!file) return NO_DRIVER;
    char line[512];
    enum { NONE, SYSTEM, GPU, MIG } section = NONE;
    struct gpu *gpu = 0;
    struct mig *mig = 0;
    memset(gpus, 0, sizeof gpus);
    gpu_count = fault_count = sees_by_nodes = 0;
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, MARK, sizeof MARK - 1)) break;
        line[strcspn(line, "#")] = 0;
        char *key = trimmed(line), *equals = strchr(key, '=');
        if (!strcmp(key, "[system]")) section = SYSTEM;
        if (!strcmp(key, "[gpu]") && gpu_count < MOST_GPUS) {
            section = GPU;
            gpu = &gpus[gpu_count];
            gpu->index = gpu->place = gpu->minor = (unsigned)gpu_count++;
            gpu->numa = gpu->addressing = gpu->mig_mode = gpu->fabric_state = -1;
            gpu->ecc = gpu->fan = -1;
            gpu->most_migs = 7;
        }
        if (!strcmp(key, "[mig]") && gpu && gpu->mig_count < MOST_MIGS) {
            section = MIG;
            mig = &gpu->migs[gpu->mig_count];
            mig->gpu = gpu;
            mig->index = (unsigned)gpu->mig_count++;
        }
        if (!equals) continue;
        *equals = 0;
        key = trimmed(key);
        char *value = trimmed(equals + 1);
        if (section == SYSTEM) set_system(key, value);
        if (section == GPU) set_gpu(gpu, key, value);
        if (section == MIG) set_mig(mig, key, value);
    }
    fclose(file);
    enum reading reading = sees_by_nodes ? keep_what_is_seen() : READ;
    for (int i = 0; i < gpu_count; i++) join_instances(&gpus[i]);
    return reading;
}

