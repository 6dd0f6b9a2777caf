// CUDA's driver and cuBLASLt on the CPU, as far as `src/device/cuda/` calls them, for the test of that
// code on machines without a GPU: our kernels run in the emulator, products in plain loops.
//
// Nothing is done when it is asked for, but only when something waits for it, which is as late as a
// real device may be: memory that is written again too early holds the wrong numbers then. What NVIDIA's
// documentation asks of a caller is checked: sizes of attributes, alignments that were promised, modes of
// capture. A caller that breaks a rule gets an error, and stderr says which.
#include "emulated.h"

#include <functional>
#include <map>
#include <string>

// A kernel's entry for the driver, which is given arguments without their types.
namespace driven {
template <class... P, size_t... I>
const char* start(const char* name, uint32_t bound, void (*kernel)(P...), emulated::Launch launch, void** values,
                  std::index_sequence<I...>) {
  emulated::Argument arguments[sizeof...(P) + 1] = {};
  (void)values;
  ((arguments[I].kind = emulated::Kind<P>::value, memcpy(&arguments[I].bits, values[I], sizeof(P))), ...);
  launch.arguments = sizeof...(P);
  launch.argument = arguments;
  return emulated::start(name, bound, kernel, &launch);
}

// Copies as many bytes of each argument as its type has, as the driver does before it returns.
template <class... P, size_t... I>
std::vector<uint64_t> copied(void (*)(P...), void** values, std::index_sequence<I...>) {
  std::vector<uint64_t> copies(sizeof...(P));
  (void)values;
  (memcpy(&copies[I], values[I], sizeof(P)), ...);
  return copies;
}

struct Kernel {
  std::vector<uint64_t> (*copy)(void**);
  const char* (*start)(emulated::Launch, void**);
  uint32_t most_threads, shared;
};

inline std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

template <class... P> constexpr auto indices(void (*)(P...)) { return std::index_sequence_for<P...>(); }
}  // namespace driven

#undef KERNEL
#define KERNEL(name, most_threads, params)                                                                     \
  static void kernel_##name params;                                                                            \
  static bool known_##name = driven::kernels()                                                                 \
                                 .insert({#name,                                                               \
                                          {[](void** v) { return driven::copied(kernel_##name, v,              \
                                                                                driven::indices(kernel_##name)); }, \
                                           [](emulated::Launch l, void** v) {                                  \
                                             return driven::start(#name, most_threads, kernel_##name, l, v,    \
                                                                  driven::indices(kernel_##name));             \
                                           },                                                                  \
                                           most_threads, 48 << 10}})                                           \
                                 .second;                                                                      \
  static void kernel_##name params

#include "all.cu"

namespace driven {

// `CUresult`.
enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
};

using Work = std::function<void()>;

struct Graph {
  std::vector<Work> work;
};

struct State {
  bool started = false;
  int failed = 0;         // what every call says once a kernel has failed
  bool capturing = false, invalidated = false;
  pthread_t capturer;
  std::vector<Work> waiting;
  Graph graph;
  std::map<uint64_t, size_t> sizes;
  size_t used = 0, limit = 256 << 20;
  uint64_t threshold = 0;
  long launches_left = -1;  // until the device fails; below zero: it never does
};
inline State& state() {
  static State all;
  return all;
}
inline thread_local bool has_context = false;

inline int refused(int code, const char* why) {
  fprintf(stderr, "emulated driver: %s\n", why);
  return code;
}

inline int ready() {
  State& s = state();
  if (!s.started) return refused(3, "cuInit was not called");
  if (s.failed) return s.failed;
  if (!has_context) return refused(INVALID_CONTEXT, "this thread has no context");
  return SUCCESS;
}

inline int ask(Work work) {
  State& s = state();
  if (int error = ready()) return error;
  (s.capturing ? s.graph.work : s.waiting).push_back(std::move(work));
  return SUCCESS;
}

// What is not allowed while this thread captures, and makes the capture void.
inline int outside_of_capture(const char* what) {
  State& s = state();
  if (!s.capturing) return SUCCESS;
  s.invalidated = true;
  return refused(CAPTURE_UNSUPPORTED, what);
}

inline int wait() {
  State& s = state();
  if (int error = ready()) return error;
  if (int error = outside_of_capture("waits during a capture")) return error;
  std::vector<Work> work;
  std::swap(work, s.waiting);
  for (Work& each : work)
    if (!s.failed) each();
  return s.failed;
}

inline unsigned char* at(uint64_t address) { return reinterpret_cast<unsigned char*>(address); }

}  // namespace driven

using namespace driven;

extern "C" {

int cuInit(unsigned) {
  State& s = state();
  if (const char* bytes = getenv("EMULATED_CUDA_BYTES")) s.limit = strtoull(bytes, nullptr, 10);
  if (const char* launches = getenv("EMULATED_CUDA_LAUNCHES")) s.launches_left = strtol(launches, nullptr, 10);
  if (getenv("EMULATED_CUDA_ABSENT")) return 100;  // CUDA_ERROR_NO_DEVICE
  s.started = true;
  return SUCCESS;
}
int cuDriverGetVersion(int* version) { return *version = 13000, SUCCESS; }
int cuGetErrorName(int error, const char** name) {
  switch (error) {
    case 100: *name = "CUDA_ERROR_NO_DEVICE"; break;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    case CAPTURE_INVALIDATED: *name = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"; break;
    default: *name = "CUDA_ERROR_OF_THE_EMULATED_DRIVER";
  }
  return SUCCESS;
}
int cuGetErrorString(int, const char** text) { return *text = "as the emulated driver was told", SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
  if (ordinal != 0) return INVALID_DEVICE;
  return *device = 0, SUCCESS;
}
int cuDeviceGetName(char* name, int bytes, int) { return snprintf(name, bytes, "emulated GPU"), SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 75: *value = 9; break;   // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = 0; break;   // COMPUTE_CAPABILITY_MINOR
    case 16: *value = 4; break;   // MULTIPROCESSOR_COUNT
    default: return INVALID_VALUE;
  }
  return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &state(), SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void* context) { return has_context = context == &state(), SUCCESS; }
int cuStreamCreate(void** stream, unsigned flags) {
  if (flags != 1) return refused(INVALID_VALUE, "a stream that waits for the null stream");
  return *stream = &state().waiting, ready();
}
int cuStreamDestroy_v2(void*) { return ready(); }
int cuStreamSynchronize(void*) { return wait(); }
int cuStreamIsCapturing(void*, int* status) { return *status = state().capturing, ready(); }

int cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = &state().sizes, SUCCESS; }
int cuMemPoolSetAttribute(void*, int attribute, void* value) {
  if (attribute != 4) return INVALID_VALUE;  // RELEASE_THRESHOLD
  return memcpy(&state().threshold, value, 8), SUCCESS;
}
int cuMemPoolGetAttribute(void*, int attribute, void* value) {
  uint64_t used = state().used;
  // RESERVED_MEM_CURRENT and USED_MEM_CURRENT
  if (attribute != 5 && attribute != 7) return INVALID_VALUE;
  return memcpy(value, &used, 8), SUCCESS;
}
int cuMemPoolTrimTo(void*, size_t) { return ready(); }
int cuMemGetInfo_v2(size_t* free, size_t* all) {
  *all = state().limit;
  *free = state().limit - state().used;
  return ready();
}
int cuMemAllocAsync(uint64_t* address, size_t bytes, void*) {
  State& s = state();
  if (int error = ready()) return error;
  if (int error = outside_of_capture("allocates during a capture")) return error;
  if (bytes == 0) return refused(INVALID_VALUE, "allocates nothing");
  if (s.used + bytes > s.limit) return OUT_OF_MEMORY;
  size_t whole = (bytes + 511) / 512 * 512;
  void* memory = aligned_alloc(512, whole);
  emulated::poison(memory, whole);
  *address = reinterpret_cast<uint64_t>(memory);
  s.sizes[*address] = bytes;
  s.used += bytes;
  return SUCCESS;
}
int cuMemFreeAsync(uint64_t address, void*) {
  State& s = state();
  if (int error = outside_of_capture("frees during a capture")) return error;
  if (!s.sizes.count(address)) return refused(INVALID_VALUE, "frees what it does not have");
  s.used -= s.sizes[address];
  s.sizes.erase(address);
  return ask([address] { free(at(address)); });
}
int cuMemHostAlloc(void** memory, size_t bytes, unsigned) { return *memory = malloc(bytes), ready(); }
int cuMemFreeHost(void* memory) { return free(memory), SUCCESS; }

// An event is how much of the work there was when it was recorded; waiting for it does all of that, and
// here all that came after, too.
int cuEventCreate(void** event, unsigned flags) {
  if (flags != 2) return refused(INVALID_VALUE, "an event with times");
  return *event = new bool(false), ready();
}
int cuEventDestroy_v2(void* event) { return delete static_cast<bool*>(event), SUCCESS; }
int cuEventRecord(void* event, void*) { return *static_cast<bool*>(event) = true, ready(); }
int cuEventSynchronize(void* event) {
  if (!*static_cast<bool*>(event)) return refused(INVALID_VALUE, "waits for an event that was never recorded");
  return wait();
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
  if (int error = outside_of_capture("uploads during a capture")) return error;
  return ask([=] { memcpy(at(to), from, bytes); });
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
  if (int error = outside_of_capture("downloads during a capture")) return error;
  return ask([=] { memcpy(to, at(from), bytes); });
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
  return ask([=] { memcpy(at(to), at(from), bytes); });
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void*) {
  return ask([=] { memset(at(to), value, bytes); });
}

int cuModuleLoadData(void** module, const void* image) {
  uint32_t magic;
  memcpy(&magic, image, 4);
  // A fat binary's first word, as nvcc writes it.
  if (magic != 0xba55ed50u) return refused(200, "loads what is no fat binary");
  return *module = &kernels(), ready();
}
int cuModuleUnload(void*) { return ready(); }
int cuModuleGetFunction(void** function, void*, const char* name) {
  auto found = kernels().find(name);
  if (found == kernels().end()) return refused(NOT_FOUND, name);
  return *function = &found->second, ready();
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != 8 || value < 0 || static_cast<size_t>(value) > emulated::MOST_SHARED)
    return refused(INVALID_VALUE, "an attribute of a function");  // MAX_DYNAMIC_SHARED_SIZE_BYTES
  return static_cast<Kernel*>(function)->shared = value, ready();
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared, void*, void** values, void** extra) {
  State& s = state();
  Kernel& kernel = *static_cast<Kernel*>(function);
  if (extra || ty != 1 || tz != 1 || !x || !y || !z || y > 65535 || z > 65535 || threads > kernel.most_threads ||
      shared > kernel.shared)
    return refused(INVALID_VALUE, "a launch");
  if (s.launches_left == 0) return s.failed = LAUNCH_FAILED;
  if (s.launches_left > 0) s.launches_left--;
  std::vector<uint64_t> copies = kernel.copy(values);
  return ask([=, &s, &kernel]() mutable {
    std::vector<void*> pointers;
    for (uint64_t& copy : copies) pointers.push_back(&copy);
    emulated::Launch launch = {{x, y, z}, threads, shared, 0, 0, nullptr};
    if (const char* why = kernel.start(launch, pointers.data())) s.failed = refused(ILLEGAL_ADDRESS, why);
  });
}

int cuStreamBeginCapture_v2(void*, int mode) {
  State& s = state();
  if (int error = ready()) return error;
  if (s.capturing || mode != 1) return refused(CAPTURE_UNSUPPORTED, "begins a capture");
  s.capturing = true;
  s.invalidated = false;
  s.capturer = pthread_self();
  s.graph.work.clear();
  return SUCCESS;
}
int cuStreamEndCapture(void*, void** graph) {
  State& s = state();
  *graph = nullptr;
  if (!s.capturing || !pthread_equal(s.capturer, pthread_self()))
    return refused(CAPTURE_UNSUPPORTED, "ends a capture that it did not begin");
  s.capturing = false;
  if (s.invalidated) return CAPTURE_INVALIDATED;
  *graph = new Graph(std::move(s.graph));
  return ready();
}
int cuGraphInstantiateWithFlags(void** whole, void* graph, unsigned long long) {
  return *whole = new Graph(*static_cast<Graph*>(graph)), ready();
}
int cuGraphDestroy(void* graph) { return delete static_cast<Graph*>(graph), SUCCESS; }
int cuGraphExecDestroy(void* whole) { return delete static_cast<Graph*>(whole), SUCCESS; }
int cuGraphLaunch(void* whole, void*) {
  Graph* graph = static_cast<Graph*>(whole);
  return ask([graph] {
    for (Work& each : graph->work) each();
  });
}
}

#include "driver_lt.h"
