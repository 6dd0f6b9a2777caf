// CUDA's vocabulary on the CPU, for the tests: a kernel's blocks run one after the other, and the threads
// of a block as fibers of one OS thread, in an order drawn from a seed. What is a race on a GPU is here
// an order in which the bits come out wrong, or NaN:
//
// - a missing barrier: which fiber goes on next differs from seed to seed;
// - shared memory read before it is written: it begins as NaN in every block;
// - an asynchronous copy that nobody waited for, or that overwrites what is still being read: what it
//   writes is NaN from when it begins until it is waited for;
// - a barrier or a warp's instruction that some threads do not reach: an error that says who waits;
// - an address outside of any buffer: the fault becomes an error that names kernel, block and thread.
//
// Only what `prelude.cuh` promises is here. Kernels must be compiled as one file, and loaded on Linux.
#pragma once
#include "checks.h"
#include "machine.h"

#include <tuple>
#include <utility>

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

namespace emulated {

template <class T> struct Kind;
template <class T> struct Kind<T*> { static constexpr uint32_t value = 0; };
template <> struct Kind<uint32_t> { static constexpr uint32_t value = 1; };
template <> struct Kind<uint64_t> { static constexpr uint32_t value = 2; };
template <> struct Kind<float> { static constexpr uint32_t value = 3; };

template <class T> inline T unpack(const Argument& argument) {
  T value;
  memcpy(&value, &argument.bits, sizeof value);
  return value;
}

inline bool refused(const Launch& l, uint32_t bound, const uint32_t* kinds, uint32_t arguments) {
  static const char* const NAMES[] = {"an address", "a u32", "a u64", "an f32"};
  Device& d = *device;
  auto say = [&](const char* format, auto... values) {
    int n = snprintf(d.error, sizeof d.error, "kernel %s: ", d.kernel);
    snprintf(d.error + n, sizeof d.error - n, format, values...);
    return true;
  };
  if (l.threads == 0 || l.threads > bound) return say("launched with %u threads; it takes 1 to %u", l.threads, bound);
  if (l.grid[0] == 0 || l.grid[1] == 0 || l.grid[2] == 0)
    return say("launched with a grid of (%u, %u, %u) blocks", l.grid[0], l.grid[1], l.grid[2]);
  if (l.grid[0] > 0x7fffffffu || l.grid[1] > 65535 || l.grid[2] > 65535)
    return say("launched with a grid of (%u, %u, %u) blocks; at most (2147483647, 65535, 65535)", l.grid[0], l.grid[1],
               l.grid[2]);
  if (l.shared > MOST_SHARED) return say("launched with %u bytes of shared memory; at most %zu", l.shared, MOST_SHARED);
  if (l.arguments != arguments) return say("launched with %u arguments; it takes %u", l.arguments, arguments);
  for (uint32_t i = 0; i < arguments; i++)
    if (l.argument[i].kind != kinds[i])
      return say("argument %u is %s; it takes %s", i, NAMES[l.argument[i].kind & 3], NAMES[kinds[i]]);
  return false;
}

// All blocks of a launch. Returns what went wrong, or null.
inline const char* run(const Launch& launch, void (*body)(void*), void* arguments) {
  Device& d = *device;
  d.body = body;
  d.arguments = arguments;
  d.grid = {launch.grid[0], launch.grid[1], launch.grid[2]};
  d.threads = {launch.threads, 1, 1};
  d.thread = {0, 0, 0};
  d.random = launch.seed * 0x9E3779B97F4A7C15ull + 1;
  uint64_t blocks = static_cast<uint64_t>(d.grid.x) * d.grid.y * d.grid.z;
  std::vector<uint64_t> order;
  if (launch.seed) {
    for (uint64_t i = 0; i < blocks; i++) order.push_back(i);
    for (uint64_t i = blocks; i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
  }
  d.statics = find_statics();
  for (uint64_t i = 0; i < blocks && !d.error[0]; i++) {
    uint64_t at = launch.seed ? order[i] : i;
    d.block = {static_cast<uint32_t>(at % d.grid.x), static_cast<uint32_t>(at / d.grid.x % d.grid.y),
               static_cast<uint32_t>(at / d.grid.x / d.grid.y)};
    run_block();
  }
  return d.error[0] ? d.error : nullptr;
}

template <class... P, size_t... I>
inline const char* start(const char* name, uint32_t bound, void (*kernel)(P...), const Launch* launch,
                         std::index_sequence<I...>) {
  Device& d = own_device();
  d.error[0] = 0;
  d.fault = 0;
  d.kernel = name;
  d.launch = *launch;
  static constexpr uint32_t kinds[] = {Kind<P>::value..., 0};
  const char* error = d.error;
  if (!refused(*launch, bound, kinds, sizeof...(P))) {
    struct Call {
      void (*kernel)(P...);
      std::tuple<P...> arguments;
    } call = {kernel, std::tuple<P...>(unpack<P>(launch->argument[I])...)};
    error = run(*launch, [](void* call) {
      Call& it = *static_cast<Call*>(call);
      std::apply(it.kernel, it.arguments);
    }, &call);
  }
  d.kernel = nullptr;
  return error;
}

template <class... P>
inline const char* start(const char* name, uint32_t bound, void (*kernel)(P...), const Launch* launch) {
  return start(name, bound, kernel, launch, std::index_sequence_for<P...>());
}

}  // namespace emulated

// The address at which the last launch of this OS thread had no memory, or 0.
extern "C" inline __attribute__((used)) uint64_t emulated_fault() { return emulated::own_device().fault; }

#define KERNEL(name, most_threads, params)                                           \
  static void kernel_##name params;                                                  \
  extern "C" const char* emulated_##name(const emulated::Launch* launch) {           \
    static_assert((most_threads) <= emulated::MOST_THREADS, "threads of a block");   \
    return emulated::start(#name, most_threads, kernel_##name, launch);              \
  }                                                                                  \
  static void kernel_##name params

#define __shared__ static thread_local
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulated::device->dynamic)

#define threadIdx (emulated::device->thread)
#define blockIdx (emulated::device->block)
#define gridDim (emulated::device->grid)
#define blockDim (emulated::device->threads)

inline void __syncthreads() { emulated::barrier(); }
inline void __syncwarp(uint32_t mask = 0xffffffffu) {
  emulated::all_lanes(mask);
  emulated::together(emulated::What::Sync, {0, 0, 0, 0}, [](emulated::Warp&, int) {});
}
template <class T> inline T __shfl_sync(uint32_t mask, T value, int from) {
  return emulated::shuffle(mask, value, [=](uint32_t) { return static_cast<uint32_t>(from) % emulated::LANES; });
}
template <class T> inline T __shfl_xor_sync(uint32_t mask, T value, int bits) {
  return emulated::shuffle(mask, value, [=](uint32_t lane) { return lane ^ static_cast<uint32_t>(bits); });
}
template <class T> inline T __shfl_down_sync(uint32_t mask, T value, unsigned by) {
  return emulated::shuffle(mask, value, [=](uint32_t lane) { return lane + by; });
}
template <class T> inline T __shfl_up_sync(uint32_t mask, T value, unsigned by) {
  return emulated::shuffle(mask, value, [=](uint32_t lane) { return lane - by; });
}

// The mathematics library declares these names for itself and defines none of them.
#define __expf expf
#define __logf logf
#define __fdividef(a, b) ((a) / (b))
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// The upper half of an f32.
struct bf16 {
  uint16_t bits;
};

inline float to_f32(float x) { return x; }
inline float to_f32(bf16 x) {
  uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}
template <class T> inline T from_f32(float x);
template <> inline float from_f32<float>(float x) { return x; }
// To nearest, ties to even.
template <> inline bf16 from_f32<bf16>(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  // As the hardware does: one NaN for all.
  if (x != x) return {0x7fff};
  bits += 0x7fff + (bits >> 16 & 1);
  return {static_cast<uint16_t>(bits >> 16)};
}

inline uint32_t pack_bf16(float low, float high) {
  return from_f32<bf16>(low).bits | static_cast<uint32_t>(from_f32<bf16>(high).bits) << 16;
}

namespace emulated {
inline float half_of(const uint64_t (&words)[4], int word, int which) {
  uint32_t both;
  memcpy(&both, reinterpret_cast<const char*>(words) + 4 * word, sizeof both);
  return to_f32(bf16{static_cast<uint16_t>(which ? both >> 16 : both)});
}

// A and B out of the lanes' registers, and their product. "Matrix Fragments for mma.m16n8k16" of the
// PTX ISA: a lane is `group`·4 + `place`; of A it holds rows `group` (elements 0, 1, 4, 5) and
// `group` + 8, columns 2·`place` + {0, 1} (elements 0 to 3) and those plus 8; of B, column `group` and
// rows 2·`place` + {0, 1} (elements 0, 1) and those plus 8.
inline void multiply(Warp& warp, int half) {
  float a[16][16], b[16][8];
  for (uint32_t lane = 0; lane < LANES; lane++) {
    uint32_t group = lane / 4, place = lane % 4;
    const uint64_t(&words)[4] = warp.given[half][lane];
    for (int i = 0; i < 8; i++) {
      bool upper = i < 2 || (i >= 4 && i < 6);
      a[group + (upper ? 0 : 8)][place * 2 + i % 2 + (i < 4 ? 0 : 8)] = half_of(words, i / 2, i % 2);
    }
    for (int i = 0; i < 4; i++) b[place * 2 + i % 2 + (i < 2 ? 0 : 8)][group] = half_of(words, 4 + i / 2, i % 2);
  }
  for (int row = 0; row < 16; row++) {
    float sums[8] = {};
    for (int k = 0; k < 16; k++)
      for (int col = 0; col < 8; col++) sums[col] += a[row][k] * b[k][col];
    memcpy(warp.product[half][row], sums, sizeof sums);
  }
}
}  // namespace emulated

inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  uint64_t words[4] = {};
  memcpy(words, a, sizeof a);
  memcpy(words + 2, b, sizeof b);
  int half = emulated::together(emulated::What::Multiply, words, emulated::multiply);
  uint32_t thread = emulated::device->current, group = thread % 32 / 4, place = thread % 4;
  // Of D, rows `group` (elements 0, 1) and `group` + 8, columns 2·`place` + {0, 1}.
  for (int i = 0; i < 4; i++)
    d[i] += emulated::device->warps[thread / 32].product[half][group + (i < 2 ? 0 : 8)][place * 2 + i % 2];
}

namespace emulated {
// Lane i gives row i % 8 of matrix i / 8. It gets, of each matrix, elements 2·(i % 4) and the next of
// row i / 4; of the transpose, if so asked.
inline void load_matrices(uint32_t (&r)[4], const void* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix from %p, which is no multiple of 16", row);
  if (!is_shared(row, 16)) fail("ldmatrix from %p, which is not in shared memory", row);
  uint64_t words[4] = {};
  memcpy(words, row, 16);
  int half = together(What::Load, words, [](Warp&, int) {});
  uint32_t thread = device->current, lane = thread % LANES;
  const Warp& warp = device->warps[thread / LANES];
  for (uint32_t m = 0; m < 4; m++) {
    uint32_t both = 0;
    for (uint32_t i = 0; i < 2; i++) {
      uint32_t at = lane / 4, column = lane % 4 * 2 + i;
      if (transposed) std::swap(at, column);
      uint16_t element;
      memcpy(&element, reinterpret_cast<const char*>(warp.given[half][m * 8 + at]) + 2 * column, sizeof element);
      both |= static_cast<uint32_t>(element) << 16 * i;
    }
    r[m] = both;
  }
}
}  // namespace emulated

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) { emulated::load_matrices(r, row, false); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) { emulated::load_matrices(r, row, true); }

inline void cp_async_16(void* shared, const void* global, bool there) {
  using namespace emulated;
  if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16)
    fail("cp.async from %p to %p, which are not both multiples of 16", global, shared);
  if (!is_shared(shared, 16)) fail("cp.async to %p, which is not in shared memory", shared);
  // A source that does not exist faults here rather than at the wait.
  if (there) static_cast<void>(*static_cast<const volatile char*>(global));
  poison(shared, 16);
  Fiber& me = device->fibers[device->current];
  me.copies.push_back({shared, global, there});
  me.uncommitted++;
}
inline void cp_async_commit() {
  emulated::Fiber& me = emulated::device->fibers[emulated::device->current];
  me.groups.push_back(me.uncommitted);
  me.uncommitted = 0;
}
template <int pending> inline void cp_async_wait() { emulated::finish_groups(pending); }
