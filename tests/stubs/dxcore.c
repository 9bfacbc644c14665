/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for libdxcore.so of WSL: three adapters of Windows, of which two can lend a GPU.
 * DXCORE is what it does: ok, error, crash, hang, or old (no D3DKMTEnumAdapters3).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define FAILURE ((int)0xC0000001)
#define COUNT 3

struct adapter { uint32_t handle, luid[2], sources, precise; };
struct adapters { uint32_t count; struct adapter *list; };
struct filtered { uint64_t filter; uint32_t count; struct adapter *list; };
struct query { uint32_t handle, type; void *data; uint32_t size; };
struct registry {
    uint32_t type, flags;
    wchar_t name[260];
    uint32_t value_type, adapter, size, status;
    union { uint64_t number; wchar_t text[1]; };
};

/* The driver before WDDM 2.8 has a store too, which nobody may be told. */
static const uint32_t versions[COUNT] = {2700, 3100, 3100};
static const wchar_t *const stores[COUNT] = {
    L"/usr/lib/wsl/drivers/old", L"/usr/lib/wsl/drivers/other", L"/usr/lib/wsl/drivers/\x00e9t\x00e9",
};

static const char *behaviour(void)
{
    const char *said = getenv("DXCORE");
    return said ? said : "ok";
}

static int list(uint32_t *count, struct adapter *into)
{
    if (!strcmp(behaviour(), "crash"))
        abort();
    if (!strcmp(behaviour(), "hang"))
        for (;;) pause();
    if (!strcmp(behaviour(), "error"))
        return FAILURE;
    for (uint32_t at = 0; into && at < *count && at < COUNT; at++)
        into[at] = (struct adapter){.handle = 0x40000000 + at};
    *count = COUNT;
    return 0;
}

int D3DKMTEnumAdapters2(struct adapters *params)
{
    return list(&params->count, params->list);
}

int D3DKMTEnumAdapters3(struct filtered *params)
{
    if (!strcmp(behaviour(), "old") || params->filter != 1)
        return FAILURE;
    return list(&params->count, params->list);
}

int D3DKMTQueryAdapterInfo(struct query *query)
{
    uint32_t at = query->handle - 0x40000000;
    struct registry *registry = query->data;
    if (at >= COUNT)
        return FAILURE;
    if (query->type == 13 && query->size == sizeof *versions) {
        memcpy(query->data, &versions[at], sizeof *versions);
        return 0;
    }
    if (query->type != 48 || query->size < sizeof *registry || registry->type != 2)
        return FAILURE;
    uint32_t needed = wcslen(stores[at]) * sizeof(wchar_t);
    uint32_t room = query->size - sizeof *registry;
    registry->status = room < needed;
    registry->size = needed;
    if (!registry->status)
        memcpy(registry->text, stores[at], needed);
    return 0;
}
