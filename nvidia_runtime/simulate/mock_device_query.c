/* SPDX-License-Identifier: Apache-2.0
 *
 * A program as a user of CUDA has one: it loads libcuda.so.1, and says what devices that has.
 *
 * It is linked with nothing but the C library, and its last line is "Result = PASS" or
 * "Result = FAIL", as that of CUDA's sample deviceQuery, which it stands for.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, MAJOR = 75, MINOR = 76 };

static void *cuda;

static void *find(const char *name) {
    void *function = dlsym(cuda, name);
    if (function) return function;
    printf("libcuda.so.1 has no %s\nResult = FAIL\n", name);
    exit(EXIT_FAILURE);
}

static void check(const char *call, int result) {
    const char *name = 0, *text = 0;
    if (result == SUCCESS) return;
    ((int (*)(int, const char **))find("cuGetErrorName"))(result, &name);
    ((int (*)(int, const char **))find("cuGetErrorString"))(result, &text);
    printf("%s returned %d\n-> %s (%s)\nResult = FAIL\n", call, result, text ? text : "?",
           name ? name : "?");
    exit(EXIT_FAILURE);
}

static int attribute(int device, int which) {
    int value = 0;
    int (*call)(int *, int, int) = (int (*)(int *, int, int))find("cuDeviceGetAttribute");
    check("cuDeviceGetAttribute", call(&value, which, device));
    return value;
}

static void show(int device, int version) {
    char name[256] = "", bus[32] = "";
    size_t bytes = 0;
    check("cuDeviceGetName",
          ((int (*)(char *, int, int))find("cuDeviceGetName"))(name, sizeof name, device));
    check("cuDeviceTotalMem",
          ((int (*)(size_t *, int))find("cuDeviceTotalMem_v2"))(&bytes, device));
    check("cuDeviceGetPCIBusId",
          ((int (*)(char *, int, int))find("cuDeviceGetPCIBusId"))(bus, sizeof bus, device));
    printf("\nDevice %d: \"%s\"\n", device, name);
    printf("  CUDA Driver Version:                           %d.%d\n", version / 1000,
           version % 100 / 10);
    printf("  CUDA Capability Major/Minor version number:    %d.%d\n", attribute(device, MAJOR),
           attribute(device, MINOR));
    printf("  Total amount of global memory:                 %zu MBytes (%zu bytes)\n",
           bytes >> 20, bytes);
    printf("  Device PCI bus id:                             %s\n", bus);
}

int main(void) {
    int count = 0, version = 0;
    printf("deviceQuery Starting...\n\nCUDA Device Query (Driver API)\n");
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cuda) {
        printf("%s\nResult = FAIL\n", dlerror());
        return EXIT_FAILURE;
    }
    check("cuInit", ((int (*)(unsigned))find("cuInit"))(0));
    check("cuDeviceGetCount", ((int (*)(int *))find("cuDeviceGetCount"))(&count));
    check("cuDriverGetVersion", ((int (*)(int *))find("cuDriverGetVersion"))(&version));
    printf("Detected %d CUDA Capable device(s)\n", count);
    for (int device = 0; device < count; device++) show(device, version);
    printf("\ndeviceQuery, CUDA Driver Version = %d.%d, NumDevs = %d\nResult = PASS\n",
           version / 1000, version % 100 / 10, count);
    return EXIT_SUCCESS;
}
