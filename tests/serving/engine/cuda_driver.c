/* The part of the CUDA driver's interface that Latens calls, over the host's memory.

   It proves that the calls pass what cuda.h says they take: sizes and addresses of 64 bits, handles
   by value, results by pointer. It counts what is held, and fails on request. */
#include <stdlib.h>
#include <string.h>

int held = 0, waits = 0, fail_allocations = 0;
static char context;

typedef void *handle;

int cuInit(unsigned flags) { return flags != 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal != 0 ? 101 : 0; }
int cuDevicePrimaryCtxRetain(handle *out, int device) { *out = &context; held++; return device; }
int cuDevicePrimaryCtxRelease_v2(int device) { held--; return device; }
int cuCtxSetCurrent(handle given) { return given == &context ? 0 : 201; }
int cuCtxSynchronize(void) { return 0; }

static int allocate(handle *out, size_t size) {
  if (fail_allocations) return 2;
  *out = malloc(size);
  memset(*out, 0xff, size);
  held++;
  return 0;
}
static int release(handle given) { free(given); held--; return 0; }

int cuMemAlloc_v2(handle *out, size_t size) { return allocate(out, size); }
int cuMemFree_v2(handle given) { return release(given); }
int cuMemHostAlloc(handle *out, size_t size, unsigned flags) { return flags ? 1 : allocate(out, size); }
int cuMemFreeHost(handle given) { return release(given); }
int cuMemsetD8_v2(handle target, unsigned char value, size_t size) {
  memset(target, value, size);
  return 0;
}
int cuMemcpyHtoDAsync_v2(handle target, const void *source, size_t size, handle stream) {
  memcpy(target, source, size);
  return stream == 0;
}
int cuMemcpyDtoHAsync_v2(void *target, handle source, size_t size, handle stream) {
  memcpy(target, source, size);
  return stream == 0;
}
int cuStreamCreate(handle *out, unsigned flags) { return flags == 1 ? allocate(out, 1) : 1; }
int cuStreamDestroy_v2(handle given) { return release(given); }
int cuEventCreate(handle *out, unsigned flags) { return flags == 2 ? allocate(out, 1) : 1; }
int cuEventDestroy_v2(handle given) { return release(given); }
int cuEventRecord(handle event, handle stream) { return event == 0 || stream == 0; }
int cuStreamWaitEvent(handle stream, handle event, unsigned flags) {
  waits++;
  return event == 0 || stream == 0 || flags;
}
int cuEventSynchronize(handle event) { return event == 0; }
int cuGetErrorString(int status, const char **text) {
  *text = status == 2 ? "out of memory" : "something else";
  return 0;
}
