// SPDX-License-Identifier: Apache-2.0
// Use every GPU through the CUDA driver API: find it, copy a buffer there and back, compare.
// Needs neither CUDA's headers nor its libraries to be compiled: cc -o probe probe.c -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE (16u << 20)

static void *library;

static void *find(const char *name) {
  void *found = dlsym(library, name);
  if (!found) {
    printf("failed %s: the driver has no such function\n", name);
    exit(1);
  }
  return found;
}

static void check(const char *what, int result) {
  if (result == 0) return;
  const char *text = "unknown error";
  int (*describe)(int, const char **) = (int (*)(int, const char **))find("cuGetErrorString");
  describe(result, &text);
  printf("failed %s: %d, %s\n", what, result, text);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void copy(unsigned char *sent, unsigned char *got) {
  int (*alloc)(unsigned long long *, size_t) =
      (int (*)(unsigned long long *, size_t))find("cuMemAlloc_v2");
  int (*there)(unsigned long long, const void *, size_t) =
      (int (*)(unsigned long long, const void *, size_t))find("cuMemcpyHtoD_v2");
  int (*back)(void *, unsigned long long, size_t) =
      (int (*)(void *, unsigned long long, size_t))find("cuMemcpyDtoH_v2");
  int (*release)(unsigned long long) = (int (*)(unsigned long long))find("cuMemFree_v2");
  unsigned long long memory = 0;
  check("cuMemAlloc", alloc(&memory, SIZE));
  check("cuMemcpyHtoD", there(memory, sent, SIZE));
  check("cuMemcpyDtoH", back(got, memory, SIZE));
  check("cuMemFree", release(memory));
  if (memcmp(sent, got, SIZE)) {
    printf("failed copy: what came back is not what was sent\n");
    exit(1);
  }
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  double begun = now();
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library) {
    printf("failed dlopen: %s\n", dlerror());
    return 1;
  }
  check("cuInit", ((int (*)(unsigned))find("cuInit"))(0));
  printf("cuInit %.1f ms\n", now() - begun);
  int version = 0, count = 0;
  check("cuDriverGetVersion", ((int (*)(int *))find("cuDriverGetVersion"))(&version));
  check("cuDeviceGetCount", ((int (*)(int *))find("cuDeviceGetCount"))(&count));
  printf("cuda %d.%d devices %d\n", version / 1000, version % 1000 / 10, count);
  unsigned char *sent = malloc(SIZE), *got = calloc(1, SIZE);
  for (unsigned at = 0; at < SIZE; at++) sent[at] = (unsigned char)(at * 2654435761u >> 24);
  for (int number = 0; number < count; number++) {
    int device = 0;
    void *context = NULL;
    char name[256] = "";
    check("cuDeviceGet", ((int (*)(int *, int))find("cuDeviceGet"))(&device, number));
    check("cuDeviceGetName", ((int (*)(char *, int, int))find("cuDeviceGetName"))(name, 256, device));
    check("cuDevicePrimaryCtxRetain",
          ((int (*)(void **, int))find("cuDevicePrimaryCtxRetain"))(&context, device));
    check("cuCtxSetCurrent", ((int (*)(void *))find("cuCtxSetCurrent"))(context));
    memset(got, 0, SIZE);
    begun = now();
    copy(sent, got);
    printf("device %d %s: 16 MiB there and back in %.1f ms\n", number, name, now() - begun);
    check("cuDevicePrimaryCtxRelease",
          ((int (*)(int))find("cuDevicePrimaryCtxRelease_v2"))(device));
  }
  return count ? 0 : 1;
}
