/* SPDX-License-Identifier: Apache-2.0
 *
 * A library that answers as libdxcore.so of WSL would to those who look for the driver of a GPU:
 * an adapter for each of the folders STORES (wide strings, given to the compiler) of their drivers.
 *
 * Structures: learn.microsoft.com, d3dkmthk.h and d3dukmdt.h.
 */
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#define API __attribute__((visibility("default")))

enum { SUCCESS = 0, FIRST = 0x40000000, NEXT = 0x40, WDDM_3_1 = 3100 };
enum { QUERY_DRIVER_VERSION = 13, QUERY_REGISTRY = 48, DRIVER_STORE_PATH = 2 };
enum { REGISTRY_SUCCESS = 0, REGISTRY_OVERFLOW = 1 };
static const int INVALID_PARAMETER = (int)0xC000000D;
static const wchar_t *const stores[] = {STORES};
enum { COUNT = sizeof stores / sizeof *stores };

struct adapter {
    uint32_t handle, luid[2], sources, prefers_precise_regions;
};

struct adapters {
    uint32_t count;
    struct adapter *list;
};

struct filtered_adapters {
    uint64_t filter;
    uint32_t count;
    struct adapter *list;
};

struct query {
    uint32_t handle, type;
    void *data;
    uint32_t size;
};

struct registry {
    uint32_t type, flags;
    wchar_t name[260];
    uint32_t value_type, adapter, size, status;
    uint64_t value; /* a text begins here, and goes on behind */
};

_Static_assert(sizeof(struct adapter) == 20, "D3DKMT_ADAPTERINFO");
_Static_assert(sizeof(struct query) == 24, "D3DKMT_QUERYADAPTERINFO");
_Static_assert(sizeof(struct registry) == 1072, "D3DDDI_QUERYREGISTRY_INFO");

static int list_adapters(uint32_t *count, struct adapter *list) {
    for (uint32_t n = 0; list && n < *count && n < COUNT; n++)
        list[n] = (struct adapter){.handle = FIRST + n * NEXT};
    *count = COUNT;
    return SUCCESS;
}

/* The folder of an adapter's driver, nothing for what is not an adapter. */
static const wchar_t *store_of(uint32_t handle) {
    uint32_t n = (handle - FIRST) / NEXT;
    return handle >= FIRST && n < COUNT && (handle - FIRST) % NEXT == 0 ? stores[n] : 0;
}

API int D3DKMTEnumAdapters2(struct adapters *found) {
    return list_adapters(&found->count, found->list);
}

API int D3DKMTEnumAdapters3(struct filtered_adapters *found) {
    return list_adapters(&found->count, found->list);
}

API int D3DKMTCloseAdapter(const uint32_t *handle) {
    return store_of(*handle) ? SUCCESS : INVALID_PARAMETER;
}

API int D3DKMTQueryAdapterInfo(struct query *query) {
    const wchar_t *store = store_of(query->handle);
    if (!store) return INVALID_PARAMETER;
    if (query->type == QUERY_DRIVER_VERSION && query->size == sizeof(uint32_t)) {
        *(uint32_t *)query->data = WDDM_3_1;
        return SUCCESS;
    }
    struct registry *registry = query->data;
    if (query->type != QUERY_REGISTRY || query->size < sizeof *registry) return INVALID_PARAMETER;
    if (registry->type != DRIVER_STORE_PATH) return INVALID_PARAMETER;
    uint32_t needed = wcslen(store) * sizeof *store;
    int fits = query->size - sizeof *registry >= needed;
    registry->status = fits ? REGISTRY_SUCCESS : REGISTRY_OVERFLOW;
    registry->size = needed;
    if (fits) memcpy(&registry->value, store, needed);
    return SUCCESS;
}
