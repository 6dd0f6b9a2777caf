// The machine below `emulated.h`: fibers and who goes on next, barriers, a warp's instructions, shared
// memory, asynchronous copies, and faults that become errors.
#pragma once
#include <dlfcn.h>
#include <link.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#if !defined(__x86_64__) || defined(WINDTUNNEL_UCONTEXT)
#include <ucontext.h>
#endif

namespace emulated {

// As `Arg` in `gpu.rs`: an address, a u32, a u64, an f32.
struct Argument {
  uint32_t kind, unused;
  uint64_t bits;
};

struct Launch {
  uint32_t grid[3];
  uint32_t threads;
  uint32_t shared;
  uint32_t arguments;
  uint64_t seed;  // of the order of blocks and threads; 0 is ascending
  const Argument* argument;
};

struct Index {
  uint32_t x, y, z;
};

constexpr uint32_t MOST_THREADS = 1024, LANES = 32;
// A frame may step over less than a guard.
constexpr size_t STACK = 128 << 10, GUARD = 64 << 10, PAGE = 4096;
constexpr size_t MOST_SHARED = 227 << 10;  // of an H100's block
// NaN as bf16, f32 and f64, and no index of anything as an integer.
constexpr uint16_t POISON = 0x7fe1;

inline void poison(void* at, size_t bytes) { std::fill_n(static_cast<uint16_t*>(at), bytes / 2, POISON); }

// Switching from one stack to another.
#if defined(__x86_64__) && !defined(WINDTUNNEL_UCONTEXT)
using Context = void*;
extern "C" void windtunnel_switch(Context* from, Context to);
// Keeps what the calling convention says a callee keeps.
asm(R"(
.text
.p2align 4
.local windtunnel_switch
.type windtunnel_switch, @function
windtunnel_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size windtunnel_switch, . - windtunnel_switch
)");
inline void switch_to(Context& from, Context& to) { windtunnel_switch(&from, to); }
inline void prepare(Context& context, unsigned char* stack, void (*entry)()) {
  // Six registers, the address to return to, and the one that a call would have left behind it.
  void** top = reinterpret_cast<void**>(stack + STACK) - 8;
  for (int i = 0; i < 8; i++) top[i] = nullptr;
  top[6] = reinterpret_cast<void*>(entry);
  context = top;
}
#else
using Context = ucontext_t;
inline void switch_to(Context& from, Context& to) { swapcontext(&from, &to); }
inline void prepare(Context& context, unsigned char* stack, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
#endif

struct Copy {
  void* to;
  const void* from;
  bool there;
};

enum class State : uint8_t { Ready, AtBarrier, InWarp, Done };

struct Fiber {
  Context context;
  State state;
  uint8_t collective;            // how many warp instructions, modulo 2
  std::vector<Copy> copies;      // begun and not yet waited for
  std::vector<size_t> groups;    // how many of them each group holds
  size_t uncommitted;
};

enum class What : uint32_t { None, Sync, Shuffle, Multiply, Load };

struct Warp {
  uint32_t arrived;
  What what;
  // Of this instruction and the one before, which a slow lane may not have read yet.
  uint64_t given[2][LANES][4];
  float product[2][16][8];
};

// This OS thread's copy of what kernels declare `__shared__`, which is all that this library declares
// thread-local, but for `device`.
struct Statics {
  unsigned char* at = nullptr;
  size_t bytes = 0;
};

// An OS thread's device.
struct Device {
  const char* kernel = nullptr;  // the one that runs; none between launches
  Launch launch;
  Index thread, block, grid, threads;
  void (*body)(void*);
  void* arguments;

  Fiber fibers[MOST_THREADS];
  Warp warps[MOST_THREADS / LANES];
  unsigned char* stacks;
  unsigned char* shared_end;
  unsigned char* dynamic;
  Statics statics;
  Context main;

  uint32_t current, live, at_barrier;
  // A ring of those that can go on.
  uint32_t ready[MOST_THREADS], first, readies;
  uint64_t random;
  uint64_t fault;  // the address that a kernel had no memory at, or 0
  char error[1024];

  Device();
  ~Device();
};

// The only thread-local variable but for what kernels call shared.
inline thread_local Device* device = nullptr;

inline int find_statics(dl_phdr_info* info, size_t, void* result) {
  const char* inside = reinterpret_cast<const char*>(&device);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    const char* at = static_cast<const char*>(info->dlpi_tls_data);
    if (part.p_type != PT_TLS || !at || inside < at || inside >= at + part.p_memsz) continue;
    *static_cast<Statics*>(result) = {static_cast<unsigned char*>(info->dlpi_tls_data), part.p_memsz};
    return 1;
  }
  return 0;
}
inline Statics find_statics() {
  Statics found;
  dl_iterate_phdr(find_statics, &found);
  return found;
}

inline uint64_t draw() {
  // xorshift64* (Vigna 2016).
  uint64_t& x = device->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  return x * 0x2545F4914F6CDD1Dull;
}

// Ends the launch with an error; the fibers are left where they are.
[[noreturn]] inline void fail(const char* format, ...) {
  Device& d = *device;
  int n = snprintf(d.error, sizeof d.error, "kernel %s, block (%u, %u, %u), thread %u: ", d.kernel, d.block.x,
                   d.block.y, d.block.z, d.thread.x);
  va_list list;
  va_start(list, format);
  vsnprintf(d.error + n, sizeof d.error - n, format, list);
  va_end(list);
  Context nowhere;
  switch_to(nowhere, d.main);
  __builtin_unreachable();
}

// A fault in a kernel ends its launch; others are whose they were.
struct Faults {
  struct sigaction before[NSIG];
  Faults();
};
inline Faults& faults() {
  static Faults all;
  return all;
}

inline void on_fault(int signal, siginfo_t* info, void* context) {
  Device* d = device;
  if (d && d->kernel) {
    if (signal == SIGFPE) fail("divides a whole number by zero");
    unsigned char* at = static_cast<unsigned char*>(info->si_addr);
    if (at >= d->stacks && at < d->stacks + MOST_THREADS * (STACK + GUARD))
      fail("needs more than %zu KiB of stack", STACK >> 10);
    d->fault = reinterpret_cast<uint64_t>(at);
    fail("reads or writes at %p, where it has no memory", info->si_addr);
  }
  const struct sigaction& before = faults().before[signal];
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  ::signal(signal, SIG_DFL);  // so that it happens again, and ends the process
}

inline Faults::Faults() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  // Fibers are left from within the handler, so that the signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE}) sigaction(signal, &action, &before[signal]);
}

inline unsigned char* map(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    perror("emulated GPU: mmap");
    abort();
  }
  return static_cast<unsigned char*>(at);
}

// Where shared memory ends, at a page that faults.
constexpr size_t SHARED_ROOM = (MOST_SHARED + PAGE - 1) / PAGE * PAGE;

inline Device::Device() {
  // What faults: the guard below each stack, and a page behind the shared memory.
  stacks = map(MOST_THREADS * (STACK + GUARD));
  for (uint32_t i = 0; i < MOST_THREADS; i++) mprotect(stacks + i * (STACK + GUARD), GUARD, PROT_NONE);
  unsigned char* shared = map(SHARED_ROOM + PAGE);
  mprotect(shared + SHARED_ROOM, PAGE, PROT_NONE);
  shared_end = shared + SHARED_ROOM;
  faults();
  // A fault may be a full stack.
  stack_t now;
  sigaltstack(nullptr, &now);
  if (now.ss_flags & SS_DISABLE) {
    stack_t other = {};
    other.ss_size = 64 << 10;
    other.ss_sp = map(other.ss_size);
    sigaltstack(&other, nullptr);
  }
}

inline Device::~Device() {
  munmap(stacks, MOST_THREADS * (STACK + GUARD));
  munmap(shared_end - SHARED_ROOM, SHARED_ROOM + PAGE);
}

// This OS thread's device, made at its first launch and gone when the thread ends.
inline Device& own_device() {
  static const pthread_key_t key = [] {
    pthread_key_t made;
    pthread_key_create(&made, [](void* device) { delete static_cast<Device*>(device); });
    return made;
  }();
  if (!device) pthread_setspecific(key, device = new Device);
  return *device;
}

inline void make_ready(uint32_t fiber) {
  Device& d = *device;
  d.fibers[fiber].state = State::Ready;
  d.ready[(d.first + d.readies++) % MOST_THREADS] = fiber;
}

// Goes on with another fiber, or at the block's end when none is ready.
inline void next_from(Context& from) {
  Device& d = *device;
  if (d.readies == 0) return switch_to(from, d.main);
  if (d.launch.seed)
    std::swap(d.ready[d.first], d.ready[(d.first + draw() % d.readies) % MOST_THREADS]);
  uint32_t to = d.ready[d.first];
  d.first = (d.first + 1) % MOST_THREADS;
  d.readies--;
  d.current = d.thread.x = to;
  if (&d.fibers[to].context != &from) switch_to(from, d.fibers[to].context);
}

inline void open_barrier_when_all_wait() {
  Device& d = *device;
  if (d.live == 0 || d.at_barrier < d.live) return;
  d.at_barrier = 0;
  for (uint32_t i = 0; i < d.launch.threads; i++)
    if (d.fibers[i].state == State::AtBarrier) make_ready(i);
}

// A fiber from its first instruction to its last.
inline void run_fiber() {
  device->body(device->arguments);
  Device& d = *device;
  Fiber& me = d.fibers[d.current];
  me.state = State::Done;
  d.live--;
  open_barrier_when_all_wait();
  next_from(me.context);
  __builtin_unreachable();
}

inline void barrier() {
  Device& d = *device;
  Fiber& me = d.fibers[d.current];
  me.state = State::AtBarrier;
  d.at_barrier++;
  open_barrier_when_all_wait();
  next_from(me.context);
}

// One instruction of a whole warp: each lane gives four words, the last to come computes what `finish`
// does of all of them; afterwards each may read what the others gave. Returns which half to read.
template <class Finish> inline int together(What what, const uint64_t (&words)[4], Finish finish) {
  Device& d = *device;
  uint32_t index = d.current / LANES, lane = d.current % LANES;
  Fiber& me = d.fibers[d.current];
  Warp& warp = d.warps[index];
  if ((index + 1) * LANES > d.launch.threads) fail("an instruction of a whole warp in a warp of fewer than 32 threads");
  if (warp.arrived && warp.what != what) fail("the lanes of its warp are at different instructions");
  int half = me.collective;
  me.collective ^= 1;
  warp.what = what;
  memcpy(warp.given[half][lane], words, sizeof words);
  me.state = State::InWarp;
  if (++warp.arrived == LANES) {
    warp.arrived = 0;
    finish(warp, half);
    for (uint32_t i = 0; i < LANES; i++) make_ready(index * LANES + i);
  }
  next_from(me.context);
  return half;
}

inline void all_lanes(uint32_t mask) {
  if (mask != 0xffffffffu) fail("a warp's instruction for the lanes %08x; only all lanes are emulated", mask);
}

template <class T, class Source> inline T shuffle(uint32_t mask, T value, Source source) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a shuffle of at most 8 bytes");
  all_lanes(mask);
  uint64_t words[4] = {};
  memcpy(words, &value, sizeof value);
  uint32_t lane = device->current % LANES;
  int half = together(What::Shuffle, words, [](Warp&, int) {});
  uint32_t from = source(lane);
  if (from >= LANES) from = lane;
  memcpy(&value, device->warps[device->current / LANES].given[half][from], sizeof value);
  return value;
}

// What a thread's asynchronous copies do when its oldest groups are waited for.
inline void finish_groups(size_t pending) {
  Fiber& me = device->fibers[device->current];
  while (me.groups.size() > pending) {
    size_t n = me.groups.front();
    for (size_t i = 0; i < n; i++) {
      const Copy& copy = me.copies[i];
      if (copy.there) memcpy(copy.to, copy.from, 16);
      else memset(copy.to, 0, 16);
    }
    me.copies.erase(me.copies.begin(), me.copies.begin() + n);
    me.groups.erase(me.groups.begin());
  }
}

inline bool is_shared(const void* at, size_t bytes) {
  const unsigned char* p = static_cast<const unsigned char*>(at);
  if (p >= device->dynamic && p + bytes <= device->shared_end) return true;
  const Statics& all = device->statics;
  return p >= all.at && p + bytes <= all.at + all.bytes;
}

inline void run_block() {
  Device* d = device;
  poison(d->statics.at, d->statics.bytes);
  device = d;
  size_t room = (d->launch.shared + 15) / 16 * 16;
  d->dynamic = d->shared_end - room;
  poison(d->dynamic, room);
  memset(d->warps, 0, sizeof(Warp) * ((d->launch.threads + LANES - 1) / LANES));
  d->first = d->readies = d->at_barrier = 0;
  d->live = d->launch.threads;
  for (uint32_t i = 0; i < d->launch.threads; i++) {
    Fiber& fiber = d->fibers[i];
    fiber.collective = 0;
    fiber.copies.clear();
    fiber.groups.clear();
    fiber.uncommitted = 0;
    prepare(fiber.context, d->stacks + i * (STACK + GUARD) + GUARD, run_fiber);
    make_ready(i);
  }
  next_from(d->main);
  if (d->error[0] || d->live == 0) {
    for (size_t i = d->launch.shared; !d->error[0] && i < room; i++)
      if (d->dynamic[i] != (i % 2 ? POISON >> 8 : POISON & 0xff))
        snprintf(d->error, sizeof d->error, "kernel %s, block (%u, %u, %u): writes past its %u bytes of shared memory",
                 d->kernel, d->block.x, d->block.y, d->block.z, d->launch.shared);
    return;
  }
  uint32_t waiting = 0, example = 0;
  for (uint32_t i = 0; i < d->launch.threads; i++)
    if (d->fibers[i].state == State::InWarp) waiting++, example = i;
  if (waiting)
    snprintf(d->error, sizeof d->error,
             "kernel %s, block (%u, %u, %u): %u threads, %u among them, wait in an instruction of a whole warp for "
             "lanes that do not come",
             d->kernel, d->block.x, d->block.y, d->block.z, waiting, example);
  else
    snprintf(d->error, sizeof d->error, "kernel %s, block (%u, %u, %u): %u of %u threads wait at a barrier",
             d->kernel, d->block.x, d->block.y, d->block.z, d->at_barrier, d->live);
}

}  // namespace emulated
