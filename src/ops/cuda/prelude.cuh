// What every kernel is written in: launches by name, bf16, sums over warps and blocks, Philox, and the
// tensor cores' instructions. Compiled by nvcc for a GPU; by a C++ compiler, with `emulated.h` in the
// place of CUDA, for the tests, which run every kernel on the CPU thread by thread.
#pragma once
#include <stdint.h>

#if defined(WINDTUNNEL_SIGNATURES)
// Preprocessed and read, never compiled: what each kernel takes (`device/signatures.rs`).
#define KERNEL(name, threads, params) SIGNATURE name params
#elif defined(WINDTUNNEL_EMULATED)
#include "emulated.h"
#else
#include <cuda_bf16.h>

// KERNEL(name, threads of a block, (parameters)) { body }: found by its name, without mangling.
#define KERNEL(name, threads, params) extern "C" __global__ void __launch_bounds__(threads) name params
// Shared memory whose size the launch gives, aligned to 16 bytes.
#define DYNAMIC_SHARED(type, name)                          \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  type* name = reinterpret_cast<type*>(name##_raw)

using bf16 = __nv_bfloat16;

__device__ inline float to_f32(float x) { return x; }
__device__ inline float to_f32(bf16 x) { return __bfloat162float(x); }
template <class T> __device__ inline T from_f32(float x);
template <> __device__ inline float from_f32<float>(float x) { return x; }
// To nearest, ties to even.
template <> __device__ inline bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }

// Two bf16 in one register, the first in its low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<uint32_t*>(&both);
}

// D += A·B of one warp: A (16, 16) row by row, B (16, 8) column by column, D (16, 8) in f32; who holds
// what is in the PTX ISA, "Matrix Fragments for mma.m16n8k16".
__device__ inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8×8 matrices of 16-bit numbers: lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// The same, each matrix transposed.
__device__ inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// 16 bytes from global to shared memory behind the thread's back, zeros where `there` is false; groups
// end with a commit, and a wait lets `pending` of the newest groups be unfinished.
__device__ inline void cp_async_16(void* shared, const void* global, bool there) {
  uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(at), "l"(global), "r"(bytes) : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> __device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#endif

constexpr int WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

// N numbers that travel together; 16 bytes of them in one load.
template <class T, int N> struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <class T> constexpr int PACK = 16 / sizeof(T);

// The sum over a warp, in every thread of it, in a fixed order; so is the largest.
__device__ inline float warp_sum(float x) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(ALL_LANES, x, offset);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, offset));
  return x;
}

// What one packed run's step needs: `Lane` in `mod.rs`, field by field.
struct Lane {
  uint32_t key[2];        // of dropout
  uint32_t step;          // optimizer steps done before this one
  uint32_t threshold;     // dropout's probability times 2^32
  float keep_scale;       // 1/(1 − probability)
  float inverse_targets;  // 1/targets that count in this step
  float lr, beta1, beta2, eps, decay, momentum, max_grad_norm;
  float correction1, correction2;  // 1 − beta1^step, 1 − beta2^step, with steps counted from 1
  uint32_t nesterov;
  float rest1, rest2, rest;        // 1 − beta1, 1 − beta2, 1 − momentum: exact before they were rounded
  float average_keep, average_take;  // what the weights' average keeps of itself and takes of the weights
};

// Philox 4×32-10 (Salmon et al. 2011), word for word `rng::philox`.
__device__ inline void philox(uint32_t key0, uint32_t key1, uint32_t (&c)[4]) {
  for (int round = 0; round < 10; round++) {
    uint64_t a = static_cast<uint64_t>(0xD2511F53u) * c[0];
    uint64_t b = static_cast<uint64_t>(0xCD9E8D57u) * c[2];
    uint32_t c0 = static_cast<uint32_t>(b >> 32) ^ c[1] ^ key0;
    uint32_t c2 = static_cast<uint32_t>(a >> 32) ^ c[3] ^ key1;
    c[1] = static_cast<uint32_t>(b);
    c[3] = static_cast<uint32_t>(a);
    c[0] = c0;
    c[2] = c2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// Four words of a dropout site's mask: elements 4·block to 4·block + 3 of a variant's step; as
// `ops::dropout::Mask` has it. An element is dropped where its word is below the lane's threshold.
__device__ inline void mask_words(const Lane& lane, uint64_t block, uint32_t site, uint32_t (&words)[4]) {
  words[0] = static_cast<uint32_t>(block);
  words[1] = static_cast<uint32_t>(block >> 32);
  words[2] = lane.step;
  words[3] = site;
  philox(lane.key[0], lane.key[1], words);
}
