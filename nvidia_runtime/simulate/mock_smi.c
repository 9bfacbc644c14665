/* SPDX-License-Identifier: Apache-2.0
 *
 * nvidia-smi of a simulated machine: it asks the libnvidia-ml.so.1 that the loader finds, as the
 * real one does, and so shows on a machine and in a container what NVML shows there.
 *
 * What scripts read is as the real one writes it: the table, -L, -q, --query-gpu and
 * --query-compute-apps with --format=csv, errors (on stdout) and exit codes.  What else the real
 * one can do is refused.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <time.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define MOST_DEVICES 64
#define MOST_FIELDS 128

/* Results of NVML, and exit codes of nvidia-smi(1), which are the same as far as they go. */
enum {
    SUCCESS = 0,
    INVALID = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    DRIVER_NOT_LOADED = 9,
    LIBRARY_NOT_FOUND = 12,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    MISMATCH = 18,
    UNKNOWN = 999,
    OTHER = 255,
};

typedef struct {
    void *handle;
    unsigned index;
    int result;
    char bus_id[32];
} Device;

/* Of nvml.h. */
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} Pci;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} Memory;

typedef struct {
    unsigned long long total, free, used;
} Bar1;

typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mib;
} Attributes;

typedef struct {
    unsigned id, scope;
    long long timestamp, latency_us;
    int type, result;
    union {
        unsigned number;
        unsigned long long whole;
    } value;
} FieldValue;

typedef struct {
    unsigned version;
    unsigned char cluster[16];
    int status;
    unsigned clique;
    unsigned char state;
    unsigned health_mask;
    unsigned char health_summary;
} Fabric;

static void *nvml;
static Device devices[MOST_DEVICES];
static unsigned device_count, attached; /* those that are asked for, and all */
static int exit_code;
static char driver[80] = "N/A", smi[80] = "N/A", library_version[80], cuda[32] = "N/A";
static int driver_major;

/* Calling NVML.  A function that it lacks is an error like another. */

static int ask(void *handle, const char *function, void *out) {
    int (*call)(void *, void *) = (int (*)(void *, void *))dlsym(nvml, function);
    return call ? call(handle, out) : FUNCTION_NOT_FOUND;
}

static int ask_of(void *handle, const char *function, unsigned which, void *out) {
    int (*call)(void *, unsigned, void *) =
        (int (*)(void *, unsigned, void *))dlsym(nvml, function);
    return call ? call(handle, which, out) : FUNCTION_NOT_FOUND;
}

static int ask_two(void *handle, const char *function, unsigned *first, unsigned *second) {
    int (*call)(void *, unsigned *, unsigned *) =
        (int (*)(void *, unsigned *, unsigned *))dlsym(nvml, function);
    return call ? call(handle, first, second) : FUNCTION_NOT_FOUND;
}

static int ask_text(void *handle, const char *function, char *out, unsigned length) {
    int (*call)(void *, char *, unsigned) =
        (int (*)(void *, char *, unsigned))dlsym(nvml, function);
    return call ? call(handle, out, length) : FUNCTION_NOT_FOUND;
}

static int ask_system_text(const char *function, char *out, unsigned length) {
    int (*call)(char *, unsigned) = (int (*)(char *, unsigned))dlsym(nvml, function);
    return call ? call(out, length) : FUNCTION_NOT_FOUND;
}

static int ask_system(const char *function, void *out) {
    int (*call)(void *) = (int (*)(void *))dlsym(nvml, function);
    return call ? call(out) : FUNCTION_NOT_FOUND;
}

static const char *error_string(int result) {
    const char *(*call)(int) = (const char *(*)(int))dlsym(nvml, "nvmlErrorString");
    return call ? call(result) : "Unknown Error";
}

static int as_exit_code(int result) { return result > 0 && result < OTHER ? result : OTHER; }

static void end(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    exit(code);
}

/* What can be asked of a GPU: what it is called, its unit, and how it is found out. */

static const char *const BRANDS[] = {
    "Unknown", "Quadro",     "Tesla",      "NVS",        "GRID",
    "GeForce", "Titan",      "NVIDIA Virtual Applications", "NVIDIA Virtual PC",
    "NVIDIA Virtual Compute Server", "NVIDIA RTX Virtual Workstation", "NVIDIA Cloud Gaming",
    "Quadro RTX", "NVIDIA RTX", "NVIDIA", "GeForce RTX", "Titan RTX",
};
static const char *const ARCHITECTURES[] = {
    "Unknown", "Unknown", "Kepler",       "Maxwell", "Pascal",    "Volta",
    "Turing",  "Ampere",  "Ada Lovelace", "Hopper",  "Blackwell",
};
static const char *const SWITCHED[] = {"Disabled", "Enabled"};
static const char *const NO_YES[] = {"No", "Yes"};
static const char *const COMPUTE_MODES[] = {"Default", "Exclusive_Thread", "Prohibited",
                                            "Exclusive_Process"};
static const char *const ADDRESSINGS[] = {"None", "HMM", "ATS"};
static const char *const RECOVERIES[] = {"None", "Reset", "Reboot", "Drain P2P",
                                         "Drain and Reset"};
static const char *const FABRIC_STATES[] = {"N/A", "N/A", "In Progress", "Completed"};

typedef struct {
    const char *name, *alias, *unit;
    int (*find)(const Device *, const void *, char *, size_t);
    const void *more;
} Field;

#define FINDS(name) \
    static int name(const Device *device, const void *more, char *out, size_t length)
#define PUT(...) return (void)snprintf(out, length, __VA_ARGS__), SUCCESS

FINDS(of_driver) { PUT("%s", driver); }
FINDS(of_count) { PUT("%u", attached); }
FINDS(of_index) { PUT("%u", device->index); }
FINDS(of_nothing) { return NOT_SUPPORTED; }
FINDS(of_words) { PUT("%s", (const char *)more); }

FINDS(of_time) {
    struct timeval now;
    char text[32];
    gettimeofday(&now, 0);
    strftime(text, sizeof text, "%Y/%m/%d %H:%M:%S", localtime(&now.tv_sec));
    PUT("%s.%03ld", text, (long)(now.tv_usec / 1000));
}

FINDS(of_text) { return ask_text(device->handle, more, out, (unsigned)length); }

FINDS(of_number) {
    unsigned value = 0;
    int result = ask(device->handle, more, &value);
    if (result) return result;
    PUT("%u", value);
}

typedef struct {
    const char *function;
    const char *const *words;
    unsigned count;
} Named;

static const char *word(const char *const *words, unsigned count, unsigned value) {
    return value < count ? words[value] : "Unknown";
}

FINDS(of_word) {
    const Named *named = more;
    unsigned value = 0;
    int result = ask(device->handle, named->function, &value);
    if (result) return result;
    PUT("%s", word(named->words, named->count, value));
}

/* The current one of two, or the one that comes after a reset. */
static int mode(const Device *device, const char *function, int is_pending, char *out,
                size_t length) {
    unsigned values[2] = {0, 0};
    int result = ask_two(device->handle, function, &values[0], &values[1]);
    if (result) return result;
    PUT("%s", word(SWITCHED, 2, values[is_pending]));
}
FINDS(of_mode) { return mode(device, more, 0, out, length); }
FINDS(of_pending_mode) { return mode(device, more, 1, out, length); }

FINDS(of_board_id) {
    unsigned value = 0;
    int result = ask(device->handle, "nvmlDeviceGetBoardId", &value);
    if (result) return result;
    PUT("0x%x", value);
}

FINDS(of_capability) {
    unsigned major = 0, minor = 0;
    int result =
        ask_two(device->handle, "nvmlDeviceGetCudaComputeCapability", &major, &minor);
    if (result) return result;
    PUT("%u.%u", major, minor);
}

enum { BUS_ID, DOMAIN, BUS, DEVICE, DEVICE_ID, SUBSYSTEM_ID };
static const int PCI_PARTS[] = {BUS_ID, DOMAIN, BUS, DEVICE, DEVICE_ID, SUBSYSTEM_ID};
FINDS(of_pci) {
    Pci pci;
    int result = ask(device->handle, "nvmlDeviceGetPciInfo_v3", &pci);
    if (result) return result;
    switch (*(const int *)more) {
    case BUS_ID: PUT("%s", pci.bus_id);
    case DOMAIN: PUT("0x%04X", pci.domain);
    case BUS: PUT("0x%02X", pci.bus);
    case DEVICE: PUT("0x%02X", pci.device);
    case DEVICE_ID: PUT("0x%08X", pci.device_id);
    default: PUT("0x%08X", pci.subsystem_id);
    }
}

static int memory_of(void *handle, Memory *memory) {
    *memory = (Memory){.version = sizeof *memory | 2U << 24};
    return ask(handle, "nvmlDeviceGetMemoryInfo_v2", memory);
}

enum { TOTAL, RESERVED, USED, FREE };
static const int PARTS[] = {TOTAL, RESERVED, USED, FREE};
FINDS(of_memory) {
    Memory memory;
    int result = memory_of(device->handle, &memory), part = *(const int *)more;
    if (result) return result;
    unsigned long long values[] = {memory.total, memory.reserved, memory.used, memory.free};
    PUT("%llu", values[part] >> 20);
}

FINDS(of_bar1) {
    Bar1 memory;
    int result = ask(device->handle, "nvmlDeviceGetBAR1MemoryInfo", &memory);
    if (result) return result;
    unsigned long long values[] = {memory.total, 0, memory.used, memory.free};
    PUT("%llu", values[*(const int *)more] >> 20);
}

enum { OF_GPU, OF_MEMORY };
FINDS(of_use) {
    unsigned values[2] = {0, 0};
    int result = ask(device->handle, "nvmlDeviceGetUtilizationRates", values);
    if (result) return result;
    PUT("%u", values[*(const int *)more ? OF_MEMORY : OF_GPU]);
}

FINDS(of_temperature) {
    unsigned value = 0;
    int result = ask_of(device->handle, "nvmlDeviceGetTemperature", 0, &value);
    if (result) return result;
    PUT("%u", value);
}

FINDS(of_state) {
    unsigned value = 0;
    int result = ask(device->handle, "nvmlDeviceGetPerformanceState", &value);
    if (result) return result;
    PUT("P%u", value);
}

FINDS(of_power) {
    unsigned value = 0;
    int result = ask(device->handle, more, &value);
    if (result) return result;
    PUT("%u.%02u", value / 1000, value % 1000 / 10);
}

static int power_limit(const Device *device, int is_most, char *out, size_t length) {
    unsigned values[2] = {0, 0};
    int result = ask_two(device->handle, "nvmlDeviceGetPowerManagementLimitConstraints",
                         &values[0], &values[1]);
    if (result) return result;
    PUT("%u.%02u", values[is_most] / 1000, values[is_most] % 1000 / 10);
}
FINDS(of_least_power) { return power_limit(device, 0, out, length); }
FINDS(of_most_power) { return power_limit(device, 1, out, length); }

/* NVML's kinds of clocks: graphics, processors, memory, video. */
static const unsigned CLOCKS[] = {0, 1, 2, 3};
static int clock_of(const Device *device, const char *function, unsigned kind, char *out,
                    size_t length) {
    unsigned value = 0;
    int result = ask_of(device->handle, function, kind, &value);
    if (result) return result;
    PUT("%u", value);
}
FINDS(of_clock) {
    return clock_of(device, "nvmlDeviceGetClockInfo", *(const unsigned *)more, out, length);
}
FINDS(of_most_clock) {
    return clock_of(device, "nvmlDeviceGetMaxClockInfo", *(const unsigned *)more, out, length);
}

/* Corrected or not, since the driver was loaded or ever. */
static const unsigned ERRORS[][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
static int errors_of(void *handle, const unsigned *kind, unsigned long long *value) {
    int (*call)(void *, unsigned, unsigned, void *) =
        (int (*)(void *, unsigned, unsigned, void *))dlsym(nvml, "nvmlDeviceGetTotalEccErrors");
    return call ? call(handle, kind[0], kind[1], value) : FUNCTION_NOT_FOUND;
}
FINDS(of_errors) {
    unsigned long long value = 0;
    int result = errors_of(device->handle, more, &value);
    if (result) return result;
    PUT("%llu", value);
}

FINDS(of_rows) {
    unsigned values[4] = {0, 0, 0, 0};
    int (*call)(void *, unsigned *, unsigned *, unsigned *, unsigned *) =
        (int (*)(void *, unsigned *, unsigned *, unsigned *, unsigned *))dlsym(
            nvml, "nvmlDeviceGetRemappedRows");
    int result = call ? call(device->handle, &values[0], &values[1], &values[2], &values[3])
                      : FUNCTION_NOT_FOUND;
    int part = *(const int *)more;
    if (result) return result;
    if (part < 2) PUT("%u", values[part]);
    PUT("%s", word(NO_YES, 2, values[part]));
}

FINDS(of_recovery) {
    enum { RECOVERY_ACTION = 230 };
    FieldValue value = {.id = RECOVERY_ACTION};
    int result = ask_of(device->handle, "nvmlDeviceGetFieldValues", 1, &value);
    if (result || (result = value.result)) return result;
    PUT("%s", word(RECOVERIES, LENGTH(RECOVERIES), value.value.number));
}

FINDS(of_addressing) {
    unsigned value[2] = {sizeof value | 1U << 24, 0};
    int result = ask(device->handle, "nvmlDeviceGetAddressingMode", value);
    if (result) return result;
    PUT("%s", word(ADDRESSINGS, LENGTH(ADDRESSINGS), value[1]));
}

enum { FABRIC_STATE, FABRIC_STATUS, CLIQUE, CLUSTER };
static const int FABRIC_PARTS[] = {FABRIC_STATE, FABRIC_STATUS, CLIQUE, CLUSTER};
FINDS(of_fabric) {
    enum { COMPLETED = 3 };
    Fabric fabric = {.version = sizeof fabric | 3U << 24};
    const unsigned char *id = fabric.cluster;
    int part = *(const int *)more;
    int result = ask(device->handle, "nvmlDeviceGetGpuFabricInfoV", &fabric);
    if (result) return result;
    if (part == FABRIC_STATE) PUT("%s", word(FABRIC_STATES, LENGTH(FABRIC_STATES), fabric.state));
    if (fabric.state != COMPLETED) return NOT_SUPPORTED;
    if (part == FABRIC_STATUS)
        PUT("%s", fabric.status ? error_string(fabric.status) : "Success");
    if (part == CLIQUE) PUT("%u", fabric.clique);
    for (int i = 0; i < 16; i++)
        out += sprintf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
    return SUCCESS;
}

/* One of the reasons for the current clocks. */
static const unsigned long long REASONS[] = {1, 2, 4, 8, 64, 128, 16, 32, 256};
FINDS(of_reason) {
    unsigned long long value = 0;
    int result = ask(device->handle, "nvmlDeviceGetCurrentClocksEventReasons", &value);
    if (result) return result;
    if (!more) PUT("0x%016llx", value);
    PUT("%s", value & *(const unsigned long long *)more ? "Active" : "Not Active");
}

static const Named PERSISTENCE = {"nvmlDeviceGetPersistenceMode", SWITCHED, 2};
static const Named DISPLAY = {"nvmlDeviceGetDisplayMode", SWITCHED, 2};
static const Named DISPLAY_ACTIVE = {"nvmlDeviceGetDisplayActive", SWITCHED, 2};
static const Named ACCOUNTING = {"nvmlDeviceGetAccountingMode", SWITCHED, 2};
static const Named COMPUTE = {"nvmlDeviceGetComputeMode", COMPUTE_MODES, 4};
static const Named MULTI_GPU = {"nvmlDeviceGetMultiGpuBoard", NO_YES, 2};
static const Named BRAND = {"nvmlDeviceGetBrand", BRANDS, LENGTH(BRANDS)};
static const Named ARCHITECTURE = {"nvmlDeviceGetArchitecture", ARCHITECTURES,
                                   LENGTH(ARCHITECTURES)};

/* Those of --help-query-gpu that there is an answer to; the others begin with an empty name. */
static const Field FIELDS[] = {
    {"timestamp", "", "", of_time, 0},
    {"driver_version", "", "", of_driver, 0},
    {"count", "", "", of_count, 0},
    {"name", "gpu_name", "", of_text, "nvmlDeviceGetName"},
    {"serial", "gpu_serial", "", of_text, "nvmlDeviceGetSerial"},
    {"uuid", "gpu_uuid", "", of_text, "nvmlDeviceGetUUID"},
    {"pci.bus_id", "gpu_bus_id", "", of_pci, &PCI_PARTS[BUS_ID]},
    {"pci.domain", "", "", of_pci, &PCI_PARTS[DOMAIN]},
    {"pci.bus", "", "", of_pci, &PCI_PARTS[BUS]},
    {"pci.device", "", "", of_pci, &PCI_PARTS[DEVICE]},
    {"pci.device_id", "", "", of_pci, &PCI_PARTS[DEVICE_ID]},
    {"pci.sub_device_id", "", "", of_pci, &PCI_PARTS[SUBSYSTEM_ID]},
    {"pcie.link.gen.current", "", "", of_number, "nvmlDeviceGetCurrPcieLinkGeneration"},
    {"pcie.link.gen.gpucurrent", "", "", of_number, "nvmlDeviceGetCurrPcieLinkGeneration"},
    {"pcie.link.gen.max", "", "", of_number, "nvmlDeviceGetMaxPcieLinkGeneration"},
    {"pcie.link.gen.gpumax", "", "", of_number, "nvmlDeviceGetMaxPcieLinkGeneration"},
    {"pcie.link.gen.hostmax", "", "", of_number, "nvmlDeviceGetMaxPcieLinkGeneration"},
    {"pcie.link.width.current", "", "", of_number, "nvmlDeviceGetCurrPcieLinkWidth"},
    {"pcie.link.width.max", "", "", of_number, "nvmlDeviceGetMaxPcieLinkWidth"},
    {"index", "", "", of_index, 0},
    {"display_mode", "", "", of_word, &DISPLAY},
    {"display_active", "", "", of_word, &DISPLAY_ACTIVE},
    {"persistence_mode", "", "", of_word, &PERSISTENCE},
    {"addressing_mode", "", "", of_addressing, 0},
    {"accounting.mode", "", "", of_word, &ACCOUNTING},
    {"accounting.buffer_size", "", "", of_number, "nvmlDeviceGetAccountingBufferSize"},
    {"driver_model.current", "", "", of_nothing, 0},
    {"driver_model.pending", "", "", of_nothing, 0},
    {"vbios_version", "", "", of_text, "nvmlDeviceGetVbiosVersion"},
    {"inforom.img", "inforom.image", "", of_nothing, 0},
    {"inforom.oem", "", "", of_nothing, 0},
    {"inforom.ecc", "", "", of_nothing, 0},
    {"inforom.pwr", "inforom.power", "", of_nothing, 0},
    {"gpu_recovery_action", "", "", of_recovery, 0},
    {"gom.current", "gpu_operation_mode.current", "", of_nothing, 0},
    {"gom.pending", "gpu_operation_mode.pending", "", of_nothing, 0},
    {"fan.speed", "", " %", of_number, "nvmlDeviceGetFanSpeed"},
    {"pstate", "", "", of_state, 0},
    {"clocks_event_reasons.supported", "clocks_throttle_reasons.supported", "", of_words,
     "0x00000000000001ff"},
    {"clocks_event_reasons.active", "clocks_throttle_reasons.active", "", of_reason, 0},
    {"clocks_event_reasons.gpu_idle", "clocks_throttle_reasons.gpu_idle", "", of_reason,
     &REASONS[0]},
    {"clocks_event_reasons.applications_clocks_setting",
     "clocks_throttle_reasons.applications_clocks_setting", "", of_reason, &REASONS[1]},
    {"clocks_event_reasons.sw_power_cap", "clocks_throttle_reasons.sw_power_cap", "", of_reason,
     &REASONS[2]},
    {"clocks_event_reasons.hw_slowdown", "clocks_throttle_reasons.hw_slowdown", "", of_reason,
     &REASONS[3]},
    {"clocks_event_reasons.hw_thermal_slowdown", "clocks_throttle_reasons.hw_thermal_slowdown", "",
     of_reason, &REASONS[4]},
    {"clocks_event_reasons.hw_power_brake_slowdown",
     "clocks_throttle_reasons.hw_power_brake_slowdown", "", of_reason, &REASONS[5]},
    {"clocks_event_reasons.sw_thermal_slowdown", "clocks_throttle_reasons.sw_thermal_slowdown", "",
     of_reason, &REASONS[7]},
    {"clocks_event_reasons.sync_boost", "clocks_throttle_reasons.sync_boost", "", of_reason,
     &REASONS[6]},
    {"memory.total", "", " MiB", of_memory, &PARTS[TOTAL]},
    {"memory.reserved", "", " MiB", of_memory, &PARTS[RESERVED]},
    {"memory.used", "", " MiB", of_memory, &PARTS[USED]},
    {"memory.free", "", " MiB", of_memory, &PARTS[FREE]},
    {"compute_mode", "", "", of_word, &COMPUTE},
    {"compute_cap", "", "", of_capability, 0},
    {"utilization.gpu", "", " %", of_use, &PARTS[0]},
    {"utilization.memory", "", " %", of_use, &PARTS[1]},
    {"encoder.stats.sessionCount", "", "", of_words, "0"},
    {"ecc.mode.current", "", "", of_mode, "nvmlDeviceGetEccMode"},
    {"ecc.mode.pending", "", "", of_pending_mode, "nvmlDeviceGetEccMode"},
    {"ecc.errors.corrected.volatile.total", "", "", of_errors, &ERRORS[0]},
    {"ecc.errors.uncorrected.volatile.total", "", "", of_errors, &ERRORS[1]},
    {"ecc.errors.corrected.aggregate.total", "", "", of_errors, &ERRORS[2]},
    {"ecc.errors.uncorrected.aggregate.total", "", "", of_errors, &ERRORS[3]},
    {"retired_pages.single_bit_ecc.count", "retired_pages.sbe", "", of_nothing, 0},
    {"retired_pages.double_bit.count", "retired_pages.dbe", "", of_nothing, 0},
    {"retired_pages.pending", "", "", of_nothing, 0},
    {"remapped_rows.correctable", "", "", of_rows, &PARTS[0]},
    {"remapped_rows.uncorrectable", "", "", of_rows, &PARTS[1]},
    {"remapped_rows.pending", "", "", of_rows, &PARTS[2]},
    {"remapped_rows.failure", "", "", of_rows, &PARTS[3]},
    {"temperature.gpu", "", "", of_temperature, 0},
    {"temperature.memory", "", "", of_nothing, 0},
    {"power.management", "", "", of_words, "Enabled"},
    {"power.draw", "", " W", of_power, "nvmlDeviceGetPowerUsage"},
    {"power.draw.average", "", " W", of_power, "nvmlDeviceGetPowerUsage"},
    {"power.draw.instant", "", " W", of_power, "nvmlDeviceGetPowerUsage"},
    {"power.limit", "", " W", of_power, "nvmlDeviceGetPowerManagementLimit"},
    {"enforced.power.limit", "", " W", of_power, "nvmlDeviceGetEnforcedPowerLimit"},
    {"power.default_limit", "", " W", of_power, "nvmlDeviceGetPowerManagementDefaultLimit"},
    {"power.min_limit", "", " W", of_least_power, 0},
    {"power.max_limit", "", " W", of_most_power, 0},
    {"clocks.current.graphics", "clocks.gr", " MHz", of_clock, &CLOCKS[0]},
    {"clocks.current.sm", "clocks.sm", " MHz", of_clock, &CLOCKS[1]},
    {"clocks.current.memory", "clocks.mem", " MHz", of_clock, &CLOCKS[2]},
    {"clocks.current.video", "clocks.video", " MHz", of_clock, &CLOCKS[3]},
    {"clocks.max.graphics", "clocks.max.gr", " MHz", of_most_clock, &CLOCKS[0]},
    {"clocks.max.sm", "", " MHz", of_most_clock, &CLOCKS[1]},
    {"clocks.max.memory", "clocks.max.mem", " MHz", of_most_clock, &CLOCKS[2]},
    {"mig.mode.current", "", "", of_mode, "nvmlDeviceGetMigMode"},
    {"mig.mode.pending", "", "", of_pending_mode, "nvmlDeviceGetMigMode"},
    {"gsp.mode.current", "", "", of_nothing, 0},
    {"fabric.state", "", "", of_fabric, &FABRIC_PARTS[FABRIC_STATE]},
    {"fabric.status", "", "", of_fabric, &FABRIC_PARTS[FABRIC_STATUS]},
};

static const Field *field(const char *name) {
    for (size_t i = 0; i < LENGTH(FIELDS); i++)
        if (!strcmp(FIELDS[i].name, name) || (*name && !strcmp(FIELDS[i].alias, name)))
            return &FIELDS[i];
    return 0;
}

/* What is written in place of a value that there is not. */
static const char *excuse(int result) {
    return result == NOT_SUPPORTED ? "N/A" : error_string(result);
}

/* In the table there is little room. */
static const char *short_excuse(int result) {
    return result == NOT_SUPPORTED || result == NO_PERMISSION ? "N/A" : "ERR!";
}

typedef struct {
    char text[128];
} Cell;

static Cell cell(const Device *device, const char *name, const char *unit) {
    Cell cell = {""};
    const Field *what = field(name);
    int result = what->find(device, what->more, cell.text, sizeof cell.text);
    if (result) strcpy(cell.text, short_excuse(result));
    if (!result) strcat(cell.text, unit);
    return cell;
}

/* Devices. */

/* Say that a device cannot be used; drivers before 550 go no further. */
static void complain(const Device *device) {
    const char *why = device->result == GPU_IS_LOST
                          ? "GPU is lost.  Reboot the system to recover this GPU"
                          : error_string(device->result);
    exit_code = as_exit_code(device->result);
    if (driver_major < 550)
        end(exit_code, "Unable to determine the device handle for GPU%s: %s\n", device->bus_id,
            why);
    printf("Unable to determine the device handle for GPU%u: %s: %s\n", device->index,
           device->bus_id, why);
}

/* Whether a name is a bus id, which has a domain of four digits or eight: "0000:07:00.0". */
static int is_bus_id(const char *name, const char *bus_id) {
    enum { DIGITS = 4 };
    if (strlen(name) == strlen(bus_id) + DIGITS && !strncmp(name, "0000", DIGITS)) name += DIGITS;
    return !strcasecmp(bus_id, name);
}

static int is_named(Device *device, const char *name) {
    char *rest, text[128];
    unsigned long number = strtoul(name, &rest, 10);
    if (*name && !*rest && number < MOST_DEVICES) return number == device->index;
    if (device->result) return is_bus_id(name, device->bus_id);
    if (!ask_text(device->handle, "nvmlDeviceGetUUID", text, sizeof text) &&
        !strcasecmp(text, name))
        return 1;
    if (!ask_text(device->handle, "nvmlDeviceGetSerial", text, sizeof text) && !strcmp(text, name))
        return 1;
    size_t length = strlen(name);
    Pci pci;
    if (!length || ask(device->handle, "nvmlDeviceGetPciInfo_v3", &pci)) return 0;
    return !strcasecmp(pci.bus_id, name) || !strcasecmp(pci.bus_id_legacy, name);
}

/* Find all devices, or those of a list of indices, UUIDs, serial numbers and bus ids. */
static void find_devices(const char *ids) {
    int result = ask_system("nvmlDeviceGetCount_v2", &attached);
    if (result) end(as_exit_code(result), "Unable to determine the number of GPUs: %s\n",
                    error_string(result));
    for (unsigned i = 0; i < attached && device_count < MOST_DEVICES; i++) {
        Device new = {.index = i, .bus_id = "N/A"};
        int (*by_index)(unsigned, void **) =
            (int (*)(unsigned, void **))dlsym(nvml, "nvmlDeviceGetHandleByIndex_v2");
        int (*place)(unsigned, char *, unsigned) =
            (int (*)(unsigned, char *, unsigned))dlsym(nvml, "nvmlInternalGetBusId");
        if (place) place(i, new.bus_id, sizeof new.bus_id);
        new.result = by_index ? by_index(i, &new.handle) : FUNCTION_NOT_FOUND;
        int is_asked = !*ids;
        char *list = strdup(ids), *rest = 0;
        for (char *id = strtok_r(list, ",", &rest); id; id = strtok_r(0, ",", &rest))
            is_asked |= is_named(&new, id);
        free(list);
        if (is_asked) devices[device_count++] = new;
    }
    if (!device_count) end(NOT_FOUND, "No devices were found\n");
}

/* Leave out those that cannot be used, and say so. */
static void drop_the_lost(void) {
    unsigned kept = 0;
    for (unsigned i = 0; i < device_count; i++) {
        if (devices[i].result) complain(&devices[i]);
        else devices[kept++] = devices[i];
    }
    device_count = kept;
    if (!kept) end(NOT_FOUND, "No devices were found\n");
}

static int is_mig_enabled(const Device *device) {
    unsigned current = 0, pending = 0;
    return !ask_two(device->handle, "nvmlDeviceGetMigMode", &current, &pending) && current == 1;
}

/* Find the MIG device of an index. */
static void *mig_at(const Device *device, unsigned index) {
    void *handle = 0;
    return ask_of(device->handle, "nvmlDeviceGetMigDeviceHandleByIndex", index, &handle) ? 0
                                                                                        : handle;
}

static unsigned most_migs(const Device *device) {
    unsigned count = 0;
    return ask(device->handle, "nvmlDeviceGetMaxMigDeviceCount", &count) ? 0 : count;
}

/* -L */

static int list(void) {
    unsigned shown = 0;
    for (unsigned i = 0; i < device_count; i++) {
        const Device *device = &devices[i];
        if (device->result) {
            complain(device);
            continue;
        }
        shown++;
        char name[96] = "Unknown", uuid[96] = "Unknown";
        ask_text(device->handle, "nvmlDeviceGetName", name, sizeof name);
        int result = ask_text(device->handle, "nvmlDeviceGetUUID", uuid, sizeof uuid);
        printf("GPU %u: %s (UUID: %s)\n", device->index, name, result ? excuse(result) : uuid);
        for (unsigned index = 0; index < most_migs(device); index++) {
            void *mig = mig_at(device, index);
            if (!mig) continue;
            char full[192] = "", mig_uuid[96] = "Unknown";
            ask_text(mig, "nvmlDeviceGetName", full, sizeof full);
            ask_text(mig, "nvmlDeviceGetUUID", mig_uuid, sizeof mig_uuid);
            const char *profile = strstr(full, "MIG ");
            printf("  MIG %-11s Device %2u: (UUID: %s)\n", profile ? profile + 4 : full, index,
                   mig_uuid);
        }
    }
    if (!shown) end(NOT_FOUND, "No devices were found\n");
    return exit_code;
}

/* The table.  It became wider with driver 550. */

static int is_wide(void) { return driver_major >= 550; }

static void rule(char left, char fill, const char *joints) {
    const int wide[] = {41, 24, 22}, narrow[] = {41, 22, 22};
    const int *widths = is_wide() ? wide : narrow;
    putchar(left);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < widths[i]; j++) putchar(fill);
        putchar(i < 2 ? joints[0] : joints[1]);
    }
    putchar('\n');
}

/* A line over the whole width. */
static void whole(const char *text) { printf("|%-*s|\n", is_wide() ? 89 : 87, text); }

static void whole_rule(char fill) {
    char edge = fill == '-' ? '+' : '|';
    putchar(edge);
    for (int i = 0; i < (is_wide() ? 89 : 87); i++) putchar(fill);
    printf("%c\n", edge);
}

static void head(void) {
    char text[128];
    int width = is_wide() ? 14 : 12;
    whole_rule('-');
    snprintf(text, sizeof text, " NVIDIA-SMI %-22s Driver Version: %-*s CUDA Version: %-8s", smi,
             width, driver, cuda);
    whole(text);
    if (driver_major >= 580) rule('+', '-', "++");
    else rule('|', '-', "++");
    const char *gap = is_wide() ? "  " : "";
    printf("| GPU  Name                 Persistence-M | Bus-Id        %sDisp.A | Volatile Uncorr. ECC "
           "|\n", gap);
    printf("| Fan  Temp   Perf          Pwr:Usage/Cap |         %sMemory-Usage | GPU-Util  Compute M. "
           "|\n", gap);
    printf("|                                         |                      %s|               MIG M. "
           "|\n", gap);
    rule('|', '=', "+|");
}

static void first_row(const Device *device) {
    Cell name = cell(device, "name", ""), persistence = cell(device, "persistence_mode", "");
    Cell bus = cell(device, "pci.bus_id", ""), display = cell(device, "display_active", "");
    Cell mode = cell(device, "ecc.mode.current", "");
    Cell ecc = cell(device, "ecc.errors.uncorrected.volatile.total", "");
    if (strlen(name.text) > 27) strcpy(name.text + 24, "...");
    const char *words[] = {persistence.text, display.text};
    for (int i = 0; i < 2; i++)
        words[i] = !strcmp(words[i], "Enabled") ? "On "
                   : !strcmp(words[i], "Disabled") ? "Off"
                                                   : words[i];
    if (!strcmp(words[0], "N/A")) words[0] = "N/A ";
    if (!strcmp(words[1], "On ")) words[1] = "On";
    if (!strcmp(mode.text, "Disabled")) strcpy(ecc.text, "Off");
    if (is_mig_enabled(device)) strcpy(ecc.text, "On");
    printf("|%4u  %-27s%7s |%s%-16s %3s |%21s |\n", device->index, name.text, words[0],
           is_wide() ? "   " : " ", bus.text, words[1], ecc.text);
}

static void second_row(const Device *device) {
    Cell fan = cell(device, "fan.speed", "%"), heat = cell(device, "temperature.gpu", "C");
    Cell state = cell(device, "pstate", ""), mode = cell(device, "compute_mode", "");
    Cell use = cell(device, "utilization.gpu", "%");
    unsigned milliwatts = 0;
    char draw[16] = "N/A", limit[16] = "N/A", left[64], power[64];
    if (is_wide()) strcpy(draw, "N/A "), strcpy(limit, "N/A ");
    int result = ask(device->handle, "nvmlDeviceGetPowerUsage", &milliwatts);
    if (!result) snprintf(draw, sizeof draw, "%uW", milliwatts / 1000);
    else if (result != NOT_SUPPORTED) strcpy(draw, "ERR!");
    if (!ask(device->handle, "nvmlDeviceGetPowerManagementLimit", &milliwatts))
        snprintf(limit, sizeof limit, "%uW", milliwatts / 1000);
    snprintf(power, sizeof power, "%s /%*s ", draw, is_wide() ? 6 : 5, limit);
    snprintf(left, sizeof left, " %3s  %4s  %s%s", fan.text, heat.text,
             isdigit((unsigned char)heat.text[0]) ? "  " : "", state.text);
    printf("|%-*s%s|", 41 - (int)strlen(power), left, power);
    Memory memory;
    result = memory_of(device->handle, &memory);
    if (!result)
        printf("%*lluMiB / %*lluMiB ", is_wide() ? 8 : 7, memory.used >> 20, is_wide() ? 6 : 5,
               memory.total >> 20);
    else if (result == NOT_SUPPORTED)
        printf(" %-*s", is_wide() ? 23 : 21, "Not Supported");
    else
        printf("%*s   ", is_wide() ? 21 : 19, short_excuse(result));
    if (!strcmp(mode.text, "Exclusive_Process")) strcpy(mode.text, "E. Process");
    printf("|%8s%13s |\n", use.text, mode.text);
}

static void third_row(const Device *device) {
    Cell mode = cell(device, "mig.mode.current", "");
    printf("|%41s|%*s|%21s |\n", "", is_wide() ? 24 : 22, "", mode.text);
}

static void mig_rule(void) {
    printf("+------------------+--------------------------------%s+-----------+------------------"
           "-----+\n", is_wide() ? "--" : "");
}

static void mig_rows(const Device *device, unsigned index, void *mig) {
    unsigned instance = 0, compute = 0;
    Attributes has = {0};
    Memory memory;
    Bar1 bar1 = {0};
    unsigned long long errors = 0;
    char ecc[24] = "N/A";
    ask(mig, "nvmlDeviceGetGpuInstanceId", &instance);
    ask(mig, "nvmlDeviceGetComputeInstanceId", &compute);
    ask(mig, "nvmlDeviceGetAttributes_v2", &has);
    memory_of(mig, &memory);
    ask(mig, "nvmlDeviceGetBAR1MemoryInfo", &bar1);
    if (!errors_of(mig, ERRORS[1], &errors)) snprintf(ecc, sizeof ecc, "%llu", errors);
    int width = is_wide() ? 16 : 14;
    const char *gap = is_wide() ? "    " : "  ";
    printf("|%3u %4u %3u %3u  |%*lluMiB / %5lluMiB%s|%3u %6s |%3u %3u %4u %4u %4u |\n",
           device->index, instance, compute, index, width, memory.used >> 20, memory.total >> 20,
           gap, has.multiprocessors, ecc, has.copy, has.encoders, has.decoders, has.ofa, has.jpeg);
    printf("|                  |%*lluMiB / %5lluMiB%s|           |                       |\n", width,
           bar1.used >> 20, bar1.total >> 20, gap);
    mig_rule();
}

static void mig_table(void) {
    int is_empty = 1;
    const char *shared = is_wide() ? "Shared " : "";
    printf("\n");
    whole_rule('-');
    whole(" MIG devices:");
    mig_rule();
    int width = is_wide() ? 33 : 31;
    char usage[48], bar1[48];
    snprintf(usage, sizeof usage, "%sMemory-Usage", shared);
    snprintf(bar1, sizeof bar1, "%sBAR1-Usage", shared);
    printf("| GPU  GI  CI  MIG |%*s |        Vol|%-23s|\n", width, usage,
           is_wide() ? "        Shared" : "      Shared");
    printf("|      ID  ID  Dev |%*s | SM     Unc|%-23s|\n", width, bar1,
           is_wide() ? " CE ENC  DEC  OFA  JPG" : " CE ENC DEC OFA JPG");
    printf("|                  |%*s|        ECC|                       |\n", width + 1, "");
    printf("|==================+================================%s+===========+=================="
           "=====|\n", is_wide() ? "==" : "");
    for (unsigned i = 0; i < device_count; i++)
        for (unsigned index = 0; index < most_migs(&devices[i]); index++) {
            void *mig = mig_at(&devices[i], index);
            if (mig) mig_rows(&devices[i], index, mig);
            is_empty &= !mig;
        }
    if (!is_empty) return;
    whole("  No MIG devices found");
    whole_rule('-');
}

static int table(void) {
    char now[64];
    time_t seconds = time(0);
    int has_mig = 0;
    drop_the_lost();
    strftime(now, sizeof now, "%a %b %e %H:%M:%S %Y", localtime(&seconds));
    printf("%s       \n", now);
    head();
    for (unsigned i = 0; i < device_count; i++) {
        first_row(&devices[i]);
        second_row(&devices[i]);
        third_row(&devices[i]);
        rule('+', '-', "++");
        has_mig |= is_mig_enabled(&devices[i]);
    }
    if (has_mig) mig_table();
    printf("\n");
    whole_rule('-');
    whole(" Processes:");
    if (is_wide()) {
        whole("  GPU   GI   CI              PID   Type   Process name                        GPU Memory ");
        whole("        ID   ID                                                               Usage      ");
    } else {
        whole("  GPU   GI   CI        PID   Type   Process name                            GPU Memory ");
        whole("        ID   ID                                                             Usage      ");
    }
    whole_rule('=');
    whole("  No running processes found");
    whole_rule('-');
    return exit_code;
}

/* --query-gpu and --query-compute-apps */

static int query(char *names, int has_header, int has_units) {
    const Field *asked[MOST_FIELDS];
    int count = 0;
    char *rest = 0;
    for (char *name = strtok_r(names, ", ", &rest); name; name = strtok_r(0, ", ", &rest)) {
        const Field *one = field(name);
        if (!one) end(INVALID, "Field \"%s\" is not a valid field to query.\n\n", name);
        if (count < MOST_FIELDS) asked[count++] = one;
    }
    if (!count) end(INVALID, "Field \"\" is not a valid field to query.\n\n");
    for (int i = 0; has_header && i < count; i++) {
        const char *unit = asked[i]->unit;
        printf("%s%s", i ? ", " : "", asked[i]->name);
        if (*unit) printf(" [%s]", unit + 1);
    }
    if (has_header) printf("\n");
    unsigned shown = 0;
    for (unsigned i = 0; i < device_count; i++) {
        if (devices[i].result) {
            complain(&devices[i]);
            continue;
        }
        shown++;
        for (int j = 0; j < count; j++) {
            char value[128] = "";
            int result = asked[j]->find(&devices[i], asked[j]->more, value, sizeof value);
            printf("%s", j ? ", " : "");
            if (result) printf("[%s]", excuse(result));
            else printf("%s%s", value, has_units ? asked[j]->unit : "");
        }
        printf("\n");
    }
    if (!shown) end(NOT_FOUND, "No devices were found\n");
    return exit_code;
}

/* No process uses a simulated GPU. */
static int query_apps(char *names, int has_header) {
    static const char *const known[][3] = {
        {"timestamp", "", ""},   {"gpu_name", "", ""},     {"gpu_bus_id", "", ""},
        {"gpu_serial", "", ""},  {"gpu_uuid", "", ""},     {"pid", "", ""},
        {"process_name", "name", ""}, {"used_gpu_memory", "used_memory", " [MiB]"},
    };
    char *rest = 0, line[512] = "";
    for (char *name = strtok_r(names, ", ", &rest); name; name = strtok_r(0, ", ", &rest)) {
        size_t i = 0;
        while (i < LENGTH(known) && strcmp(known[i][0], name) && strcmp(known[i][1], name)) i++;
        if (i == LENGTH(known)) end(INVALID, "Field \"%s\" is not a valid field to query.\n\n", name);
        size_t used = strlen(line);
        snprintf(line + used, sizeof line - used, "%s%s%s", used ? ", " : "", known[i][0],
                 known[i][2]);
    }
    if (!*line) end(INVALID, "Field \"\" is not a valid field to query.\n\n");
    if (has_header) printf("%s\n", line);
    drop_the_lost();
    return exit_code;
}

/* -q: sections and lines, by their depth.  A value is a field of the table above, or is written
 * as it is, behind '='.  Sections begin with a line without a value; -d asks for some of those of
 * the first level. */

typedef struct {
    int depth;
    const char *label, *value, *display;
} Line;

static const Line LINES[] = {
    {1, "Product Name", "name", ""},
    {1, "Product Brand", "@brand", ""},
    {1, "Product Architecture", "@architecture", ""},
    {1, "Display Mode", "display_mode", ""},
    {1, "Display Active", "display_active", ""},
    {1, "Persistence Mode", "persistence_mode", ""},
    {1, "Addressing Mode", "addressing_mode", ""},
    {1, "MIG Mode", 0, ""},
    {2, "Current", "mig.mode.current", ""},
    {2, "Pending", "mig.mode.pending", ""},
    {1, "@migs", 0, ""},
    {1, "Accounting Mode", "accounting.mode", "ACCOUNTING"},
    {1, "Accounting Mode Buffer Size", "accounting.buffer_size", "ACCOUNTING"},
    {1, "Driver Model", 0, ""},
    {2, "Current", "driver_model.current", ""},
    {2, "Pending", "driver_model.pending", ""},
    {1, "Serial Number", "serial", ""},
    {1, "GPU UUID", "uuid", ""},
    {1, "Minor Number", "@minor", ""},
    {1, "VBIOS Version", "vbios_version", ""},
    {1, "MultiGPU Board", "@multi", ""},
    {1, "Board ID", "@board", ""},
    {1, "Inforom Version", 0, ""},
    {2, "Image Version", "inforom.img", ""},
    {2, "OEM Object", "inforom.oem", ""},
    {2, "ECC Object", "inforom.ecc", ""},
    {2, "Power Management Object", "inforom.pwr", ""},
    {1, "GPU Operation Mode", 0, ""},
    {2, "Current", "gom.current", ""},
    {2, "Pending", "gom.pending", ""},
    {1, "GPU Virtualization Mode", 0, ""},
    {2, "Virtualization Mode", "=None", ""},
    {2, "Host VGPU Mode", "=N/A", ""},
    {1, "@reset", 0, ""},
    {1, "IBMNPU", 0, ""},
    {2, "Relaxed Ordering Mode", "=N/A", ""},
    {1, "PCI", 0, ""},
    {2, "Bus", "pci.bus", ""},
    {2, "Device", "pci.device", ""},
    {2, "Domain", "pci.domain", ""},
    {2, "Device Id", "pci.device_id", ""},
    {2, "Bus Id", "pci.bus_id", ""},
    {2, "Sub System Id", "pci.sub_device_id", ""},
    {2, "GPU Link Info", 0, ""},
    {3, "PCIe Generation", 0, ""},
    {4, "Max", "pcie.link.gen.max", ""},
    {4, "Current", "pcie.link.gen.current", ""},
    {4, "Device Current", "pcie.link.gen.gpucurrent", ""},
    {4, "Device Max", "pcie.link.gen.gpumax", ""},
    {4, "Host Max", "pcie.link.gen.hostmax", ""},
    {3, "Link Width", 0, ""},
    {4, "Max", "@width", ""},
    {4, "Current", "@width", ""},
    {1, "Fan Speed", "fan.speed", ""},
    {1, "Performance State", "pstate", "PERFORMANCE"},
    {1, "Clocks Event Reasons", 0, "PERFORMANCE"},
    {2, "Idle", "clocks_event_reasons.gpu_idle", ""},
    {2, "Applications Clocks Setting", "clocks_event_reasons.applications_clocks_setting", ""},
    {2, "SW Power Cap", "clocks_event_reasons.sw_power_cap", ""},
    {2, "HW Slowdown", "clocks_event_reasons.hw_slowdown", ""},
    {3, "HW Thermal Slowdown", "clocks_event_reasons.hw_thermal_slowdown", ""},
    {3, "HW Power Brake Slowdown", "clocks_event_reasons.hw_power_brake_slowdown", ""},
    {2, "Sync Boost", "clocks_event_reasons.sync_boost", ""},
    {2, "SW Thermal Slowdown", "clocks_event_reasons.sw_thermal_slowdown", ""},
    {1, "FB Memory Usage", 0, "MEMORY"},
    {2, "Total", "memory.total", ""},
    {2, "Reserved", "memory.reserved", ""},
    {2, "Used", "memory.used", ""},
    {2, "Free", "memory.free", ""},
    {1, "BAR1 Memory Usage", 0, "MEMORY"},
    {2, "Total", "@bar1.total", ""},
    {2, "Used", "@bar1.used", ""},
    {2, "Free", "@bar1.free", ""},
    {1, "Compute Mode", "compute_mode", "COMPUTE"},
    {1, "Utilization", 0, "UTILIZATION"},
    {2, "GPU", "utilization.gpu", ""},
    {2, "Memory", "utilization.memory", ""},
    {1, "ECC Mode", 0, "ECC"},
    {2, "Current", "ecc.mode.current", ""},
    {2, "Pending", "ecc.mode.pending", ""},
    {1, "ECC Errors", 0, "ECC"},
    {2, "Volatile", 0, ""},
    {3, "SRAM Correctable", "ecc.errors.corrected.volatile.total", ""},
    {3, "SRAM Uncorrectable Parity", "ecc.errors.uncorrected.volatile.total", ""},
    {3, "SRAM Uncorrectable SEC-DED", "ecc.errors.uncorrected.volatile.total", ""},
    {3, "DRAM Correctable", "ecc.errors.corrected.volatile.total", ""},
    {3, "DRAM Uncorrectable", "ecc.errors.uncorrected.volatile.total", ""},
    {2, "Aggregate", 0, ""},
    {3, "SRAM Correctable", "ecc.errors.corrected.aggregate.total", ""},
    {3, "SRAM Uncorrectable Parity", "ecc.errors.uncorrected.aggregate.total", ""},
    {3, "SRAM Uncorrectable SEC-DED", "ecc.errors.uncorrected.aggregate.total", ""},
    {3, "DRAM Correctable", "ecc.errors.corrected.aggregate.total", ""},
    {3, "DRAM Uncorrectable", "ecc.errors.uncorrected.aggregate.total", ""},
    {1, "Retired Pages", 0, "PAGE_RETIREMENT"},
    {2, "Single Bit ECC", "retired_pages.single_bit_ecc.count", ""},
    {2, "Double Bit ECC", "retired_pages.double_bit.count", ""},
    {2, "Pending Page Blacklist", "retired_pages.pending", ""},
    {1, "Remapped Rows", 0, "ROW_REMAPPER"},
    {2, "Correctable Error", "remapped_rows.correctable", ""},
    {2, "Uncorrectable Error", "remapped_rows.uncorrectable", ""},
    {2, "Pending", "remapped_rows.pending", ""},
    {2, "Remapping Failure Occurred", "remapped_rows.failure", ""},
    {1, "Temperature", 0, "TEMPERATURE"},
    {2, "GPU Current Temp", "@temperature", ""},
    {2, "Memory Current Temp", "temperature.memory", ""},
    {1, "@power", 0, "POWER"},
    {2, "Average Power Draw", "power.draw.average", ""},
    {2, "Instantaneous Power Draw", "power.draw.instant", ""},
    {2, "Current Power Limit", "power.limit", ""},
    {2, "Requested Power Limit", "power.limit", ""},
    {2, "Default Power Limit", "power.default_limit", ""},
    {2, "Min Power Limit", "power.min_limit", ""},
    {2, "Max Power Limit", "power.max_limit", ""},
    {1, "Clocks", 0, "CLOCK"},
    {2, "Graphics", "clocks.current.graphics", ""},
    {2, "SM", "clocks.current.sm", ""},
    {2, "Memory", "clocks.current.memory", ""},
    {2, "Video", "clocks.current.video", ""},
    {1, "Max Clocks", 0, "CLOCK"},
    {2, "Graphics", "clocks.max.graphics", ""},
    {2, "SM", "clocks.max.sm", ""},
    {2, "Memory", "clocks.max.memory", ""},
    {1, "Fabric", 0, ""},
    {2, "State", "fabric.state", ""},
    {2, "Status", "fabric.status", ""},
    {2, "CliqueId", "@clique", ""},
    {2, "ClusterUUID", "@cluster", ""},
    {1, "Processes", "=None", "PIDS"},
};

/* Values that -q has and --query-gpu has not, or has in another form. */
static const Field MORE_FIELDS[] = {
    {"@brand", "", "", of_word, &BRAND},
    {"@architecture", "", "", of_word, &ARCHITECTURE},
    {"@minor", "", "", of_number, "nvmlDeviceGetMinorNumber"},
    {"@multi", "", "", of_word, &MULTI_GPU},
    {"@board", "", "", of_board_id, 0},
    {"@width", "", "x", of_number, "nvmlDeviceGetMaxPcieLinkWidth"},
    {"@bar1.total", "", " MiB", of_bar1, &PARTS[TOTAL]},
    {"@bar1.used", "", " MiB", of_bar1, &PARTS[USED]},
    {"@bar1.free", "", " MiB", of_bar1, &PARTS[FREE]},
    {"@temperature", "", " C", of_temperature, 0},
    {"@clique", "", "", of_fabric, &FABRIC_PARTS[CLIQUE]},
    {"@cluster", "", "", of_fabric, &FABRIC_PARTS[CLUSTER]},
};

static void line(int depth, const char *label, const char *value) {
    printf("%*s%-*s: %s\n", 4 * depth, "", 42 - 4 * depth, label, value);
}

static void section(int depth, const char *label) { printf("%*s%s\n", 4 * depth, "", label); }

static void line_of(int depth, const char *label, unsigned long long number, const char *unit) {
    char value[48];
    snprintf(value, sizeof value, "%llu%s", number, unit);
    line(depth, label, value);
}

static void show_migs(const Device *device) {
    for (unsigned index = 0; index < most_migs(device); index++) {
        void *mig = mig_at(device, index);
        if (!mig) continue;
        unsigned instance = 0, compute = 0;
        Attributes has = {0};
        Memory memory = {0};
        Bar1 bar1 = {0};
        unsigned long long errors = 0;
        ask(mig, "nvmlDeviceGetGpuInstanceId", &instance);
        ask(mig, "nvmlDeviceGetComputeInstanceId", &compute);
        ask(mig, "nvmlDeviceGetAttributes_v2", &has);
        memory_of(mig, &memory);
        ask(mig, "nvmlDeviceGetBAR1MemoryInfo", &bar1);
        section(1, "MIG Device");
        line_of(2, "Index", index, "");
        line_of(2, "GPU Instance ID", instance, "");
        line_of(2, "Compute Instance ID", compute, "");
        section(2, "Device Attributes");
        section(3, "Shared");
        line_of(4, "Multiprocessor count", has.multiprocessors, "");
        line_of(4, "Copy Engine count", has.copy, "");
        line_of(4, "Encoder count", has.encoders, "");
        line_of(4, "Decoder count", has.decoders, "");
        line_of(4, "OFA count", has.ofa, "");
        line_of(4, "JPG count", has.jpeg, "");
        section(2, "ECC Errors");
        section(3, "Volatile");
        if (errors_of(mig, ERRORS[1], &errors)) line(4, "SRAM Uncorrectable", "N/A");
        else line_of(4, "SRAM Uncorrectable", errors, "");
        section(2, "FB Memory Usage");
        line_of(3, "Total", memory.total >> 20, " MiB");
        line_of(3, "Reserved", memory.reserved >> 20, " MiB");
        line_of(3, "Used", memory.used >> 20, " MiB");
        line_of(3, "Free", memory.free >> 20, " MiB");
        section(2, "BAR1 Memory Usage");
        line_of(3, "Total", bar1.total >> 20, " MiB");
        line_of(3, "Used", bar1.used >> 20, " MiB");
        line_of(3, "Free", bar1.free >> 20, " MiB");
    }
}

/* What drivers say of a reset has changed: deprecated by 570, gone with 580; 565 began to say what
 * to do instead. */
static void show_reset(const Device *device) {
    const char *said = driver_major >= 570 ? "Requested functionality has been deprecated" : "No";
    if (driver_major < 580) {
        section(1, "GPU Reset Status");
        line(2, "Reset Required", said);
        line(2, "Drain and Reset Recommended", said);
    }
    if (driver_major < 565) return;
    char action[128] = "";
    int result = of_recovery(device, 0, action, sizeof action);
    line(1, "GPU Recovery Action", result ? excuse(result) : action);
}

static void show_value(const Device *device, const Line *what) {
    char value[160] = "";
    const Field *one = field(what->value);
    if (*what->value == '=') {
        line(what->depth, what->label, what->value + 1);
        return;
    }
    for (size_t i = 0; !one && i < LENGTH(MORE_FIELDS); i++)
        if (!strcmp(MORE_FIELDS[i].name, what->value)) one = &MORE_FIELDS[i];
    int result = one->find(device, one->more, value, sizeof value);
    if (result) strcpy(value, excuse(result));
    else strcat(value, one->unit);
    line(what->depth, what->label, value);
}

static int is_shown(const char *display, const char *asked) {
    size_t length = strlen(display);
    if (!*asked) return 1;
    for (const char *at = asked; length && (at = strcasestr(at, display)); at++)
        if ((at == asked || at[-1] == ',') && (!at[length] || at[length] == ',')) return 1;
    return 0;
}

static void show(const Device *device, const char *asked) {
    int shows = 1;
    printf("GPU %s\n", cell(device, "pci.bus_id", "").text);
    for (size_t i = 0; i < LENGTH(LINES); i++) {
        const Line *what = &LINES[i];
        if (what->depth == 1) shows = is_shown(what->display, asked);
        if (!shows) continue;
        if (what->value) show_value(device, what);
        else if (!strcmp(what->label, "@migs")) show_migs(device);
        else if (!strcmp(what->label, "@reset")) show_reset(device);
        else if (!strcmp(what->label, "@power"))
            section(1, is_wide() ? "GPU Power Readings" : "Power Readings");
        else section(what->depth, what->label);
    }
    printf("\n");
}

static int query_all(const char *asked) {
    char now[64];
    time_t seconds = time(0);
    drop_the_lost();
    strftime(now, sizeof now, "%a %b %e %H:%M:%S %Y", localtime(&seconds));
    printf("\n==============NVSMI LOG==============\n\n");
    line(0, "Timestamp", now);
    line(0, "Driver Version", driver);
    line(0, "CUDA Version", cuda);
    printf("\n");
    line_of(0, "Attached GPUs", attached, "");
    for (unsigned i = 0; i < device_count; i++) show(&devices[i], asked);
    return exit_code;
}

/* The command line. */

typedef struct {
    int lists, queries, is_version;
    const char *ids, *displays;
    char *fields, *apps, *format;
} Call;

static const char HELP[] =
    "nvidia-smi of a simulated machine; see nvidia-smi(1) for that of a real one.\n"
    "\n"
    "    nvidia-smi [-i ID,...]                         the table\n"
    "    nvidia-smi -L [-i ID,...]                      list GPUs and MIG devices\n"
    "    nvidia-smi -q [-i ID,...] [-d SECTION,...]     all that is known\n"
    "    nvidia-smi --query-gpu=FIELD,... --format=csv[,noheader][,nounits] [-i ID,...]\n"
    "    nvidia-smi --query-compute-apps=FIELD,... --format=csv[,noheader][,nounits]\n"
    "    nvidia-smi --help-query-gpu                    list the fields\n"
    "    nvidia-smi --version\n";

static int list_fields(void) {
    for (size_t i = 0; i < LENGTH(FIELDS); i++) {
        const char *alias = FIELDS[i].alias;
        printf("\"%s\"%s%s%s\n", FIELDS[i].name, *alias ? " or \"" : "", alias, *alias ? "\"" : "");
    }
    return SUCCESS;
}

/* The value of an option that is "--name=value", or the next word. */
static char *value_of(char **words, int *at, const char *name) {
    size_t length = strlen(name);
    char *word = words[*at];
    if (strncmp(word, name, length)) return 0;
    if (word[length] == '=' && word[1] == '-') return word + length + 1;
    if (word[length]) return 0;
    if (!words[*at + 1])
        end(INVALID, "Missing value of option %s. Please run 'nvidia-smi -h' for help.\n", name);
    return words[++*at];
}

/* Read --format. */
static int has(const char *format, const char *word) {
    char list[128], *rest = 0;
    snprintf(list, sizeof list, "%s", format);
    for (char *one = strtok_r(list, ", ", &rest); one; one = strtok_r(0, ", ", &rest))
        if (!strcmp(one, word)) return 1;
    return 0;
}

/* "csv" must be there; "noheader" and "nounits" may be. */
static void check_format(const char *format) {
    char list[128], *rest = 0;
    snprintf(list, sizeof list, "%s", format);
    for (char *one = strtok_r(list, ", ", &rest); one; one = strtok_r(0, ", ", &rest))
        if (strcmp(one, "csv") && strcmp(one, "noheader") && strcmp(one, "nounits"))
            end(INVALID, "ERROR: Option %s is not recognized. Please run 'nvidia-smi -h' for help.\n",
                one);
    if (!has(format, "csv"))
        end(INVALID, "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n");
}

static Call read_call(char **words) {
    Call call = {.ids = "", .displays = ""};
    char *value;
    for (int i = 1; words[i]; i++) {
        const char *word = words[i];
        if (!strcmp(word, "-h") || !strcmp(word, "--help")) end(SUCCESS, "%s", HELP);
        else if (!strcmp(word, "--help-query-gpu")) exit(list_fields());
        else if (!strcmp(word, "-L") || !strcmp(word, "--list-gpus")) call.lists = 1;
        else if (!strcmp(word, "-q") || !strcmp(word, "--query") || !strcmp(word, "-a"))
            call.queries = 1;
        else if (!strcmp(word, "--version")) call.is_version = 1;
        else if ((value = value_of(words, &i, "-i")) || (value = value_of(words, &i, "--id")))
            call.ids = value;
        else if ((value = value_of(words, &i, "-d")) || (value = value_of(words, &i, "--display")))
            call.displays = value;
        else if ((value = value_of(words, &i, "--query-gpu"))) call.fields = value;
        else if ((value = value_of(words, &i, "--query-compute-apps"))) call.apps = value;
        else if ((value = value_of(words, &i, "--format"))) call.format = value;
        else {
            fprintf(stderr, "nvidia-smi: the simulated one cannot do '%s'; see nvidia-smi -h\n",
                    word);
            exit(NOT_SUPPORTED);
        }
    }
    int is_query = call.fields || call.apps;
    if (is_query && !call.format)
        end(INVALID, "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n");
    if (call.lists + call.queries + call.is_version + !!call.fields + !!call.apps > 1 ||
        (call.format && !is_query) || (*call.displays && !call.queries))
        end(INVALID,
            "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n");
    if (call.format) check_format(call.format);
    return call;
}

static void load_library(void) {
    nvml = dlopen("libnvidia-ml.so.1", RTLD_LAZY);
    if (!nvml)
        end(LIBRARY_NOT_FOUND,
            "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure "
            "that the NVIDIA Display Driver is properly installed and present in your system.\n"
            "Please also try adding directory that contains libnvidia-ml.so to your system "
            "PATH.\n");
}

/* NVML's version begins with that of CUDA; one of its libraries' is shown in its first two parts. */
static void read_library_version(void) {
    char text[80] = "";
    ask_system_text("nvmlSystemGetNVMLVersion", text, sizeof text);
    const char *dot = strchr(text, '.');
    if (!dot) return;
    snprintf(smi, sizeof smi, "%s", dot + 1);
    snprintf(library_version, sizeof library_version, "%s", dot + 1);
    char *second = strchr(library_version, '.');
    if (second && (second = strchr(second + 1, '.'))) *second = 0;
}

static void start(void) {
    int (*init)(void) = (int (*)(void))dlsym(nvml, "nvmlInit_v2");
    int result = init ? init() : FUNCTION_NOT_FOUND;
    read_library_version();
    if (result == DRIVER_NOT_LOADED)
        end(DRIVER_NOT_LOADED,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
            "sure that the latest NVIDIA driver is installed and running.\n\n");
    if (result == MISMATCH)
        end(MISMATCH, "Failed to initialize NVML: %s\nNVML library version: %s\n",
            error_string(result), library_version);
    if (result) end(as_exit_code(result), "Failed to initialize NVML: %s\n", error_string(result));
    ask_system_text("nvmlSystemGetDriverVersion", driver, sizeof driver);
    driver_major = atoi(driver);
    unsigned version = 0;
    if (!ask_system("nvmlSystemGetCudaDriverVersion_v2", &version))
        snprintf(cuda, sizeof cuda, "%u.%u", version / 1000, version % 1000 / 10);
}

int main(int count, char **words) {
    (void)count;
    Call call = read_call(words);
    load_library();
    start();
    if (call.is_version)
        end(SUCCESS,
            "NVIDIA-SMI version  : %s\nNVML version        : %s\nDRIVER version      : %s\n"
            "CUDA Version        : %s\n",
            smi, library_version, driver, cuda);
    find_devices(call.ids);
    if (call.lists) return list();
    if (call.queries) return query_all(call.displays);
    if (call.fields)
        return query(call.fields, !has(call.format, "noheader"), !has(call.format, "nounits"));
    if (call.apps) return query_apps(call.apps, !has(call.format, "noheader"));
    return table();
}
