// Kernels that try out the emulator: right ones, and ones with the mistakes that it is there to find.
#include "prelude.cuh"

// Sums of rows, by a block each, over a barrier; and without it.
template <bool barrier> __device__ void row_sums(const float* x, float* sums, uint32_t cols) {
  __shared__ float parts[8];
  float part = 0;
  for (uint32_t i = threadIdx.x; i < cols; i += blockDim.x) part += x[static_cast<size_t>(blockIdx.x) * cols + i];
  part = warp_sum(part);
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = part;
  if (barrier) __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (uint32_t i = 0; i < blockDim.x / WARP; i++) sum += parts[i];
    sums[blockIdx.x] = sum;
  }
}
KERNEL(row_sums, 256, (const float* x, float* sums, uint32_t cols)) { row_sums<true>(x, sums, cols); }
KERNEL(row_sums_racing, 256, (const float* x, float* sums, uint32_t cols)) { row_sums<false>(x, sums, cols); }

// Each thread adds to what its neighbour may have written already.
KERNEL(neighbours_racing, 256, (float* x)) { x[threadIdx.x] += x[(threadIdx.x + 1) % blockDim.x]; }

// Which block was the last to write.
KERNEL(last_block, 32, (float* last)) {
  if (threadIdx.x == 0) last[0] = blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z;
}

KERNEL(where, 64, (uint32_t* out)) {
  uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  out[block * blockDim.x + threadIdx.x] = blockIdx.x | blockIdx.y << 8 | blockIdx.z << 16 | threadIdx.x << 24;
}

KERNEL(shuffles, 64, (float* out)) {
  float lane = threadIdx.x;
  out[threadIdx.x] = __shfl_xor_sync(ALL_LANES, lane, 5);
  out[64 + threadIdx.x] = __shfl_sync(ALL_LANES, lane, 7);
  out[128 + threadIdx.x] = __shfl_down_sync(ALL_LANES, lane, 3);
  out[192 + threadIdx.x] = __shfl_up_sync(ALL_LANES, lane, 3);
  out[256 + threadIdx.x] = warp_sum(lane);
  out[320 + threadIdx.x] = warp_max(-lane);
}

KERNEL(static_shared_unset, 32, (float* out)) {
  __shared__ float fresh[32];
  out[threadIdx.x] = fresh[threadIdx.x];
  fresh[threadIdx.x] = 1;
}

KERNEL(dynamic_shared_unset, 32, (bf16* out)) {
  DYNAMIC_SHARED(bf16, fresh);
  out[threadIdx.x] = fresh[threadIdx.x];
  fresh[threadIdx.x] = from_f32<bf16>(1);
}

// Writes `n` numbers of shared memory.
KERNEL(dynamic_shared_filled, 32, (float* x, uint32_t n)) {
  DYNAMIC_SHARED(float, all);
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) all[i] = 1;
  if (threadIdx.x == 0) x[0] = all[0];
}

KERNEL(static_shared_filled, 32, (float* x, uint32_t n)) {
  __shared__ float all[16];
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) all[i] = 1;
  if (threadIdx.x == 0) x[0] = all[0];
}

KERNEL(filled, 32, (float* x, uint32_t from, uint32_t n)) {
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) x[from + i] = 7;
}

// Loads 16 bytes at once, `offset` numbers in.
KERNEL(wide_load, 1, (const float* x, float* y, uint32_t offset)) {
  Pack<float, 4> four = *reinterpret_cast<const Pack<float, 4>*>(x + offset);
  for (int i = 0; i < 4; i++) y[i] = four.at[i];
}

KERNEL(divided, 1, (uint32_t* x, uint32_t by)) { x[0] /= by; }

__device__ float deeper(float* x, uint32_t depth) {
  volatile float here[1024];
  here[0] = x[0];
  return depth ? deeper(x, depth - 1) + here[0] : here[0];
}
KERNEL(deep, 1, (float* x, uint32_t depth)) { x[0] = deeper(x, depth); }

// A barrier that the first `absent` threads do not reach: they wait at another thing, or are gone.
KERNEL(barrier_without_some, 64, (float* x, uint32_t absent)) {
  if (threadIdx.x < absent) warp_sum(x[0]);
  else __syncthreads();
}
KERNEL(barrier_after_some_left, 64, (float* x, uint32_t absent)) {
  if (threadIdx.x < absent) return;
  __syncthreads();
  if (threadIdx.x == absent) x[0] = 1;
}
KERNEL(warp_without_some, 64, (float* x)) {
  if (threadIdx.x % WARP != 3) x[0] = warp_sum(1);
}
KERNEL(warp_at_different_things, 32, (float* x)) {
  if (threadIdx.x < 16) x[0] = warp_sum(1);
  else __syncwarp();
}

// Registers in, registers out: each lane's four of A, two of B, four of D.
KERNEL(tensor_core, 32, (const uint32_t* a, const uint32_t* b, float* d)) {
  uint32_t ra[4], rb[2];
  float rd[4];
  for (int i = 0; i < 4; i++) ra[i] = a[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; i++) rb[i] = b[threadIdx.x * 2 + i];
  for (int i = 0; i < 4; i++) rd[i] = d[threadIdx.x * 4 + i];
  mma_16816(rd, ra, rb);
  for (int i = 0; i < 4; i++) d[threadIdx.x * 4 + i] = rd[i];
}

// What each lane gets of four matrices that lie one behind the other.
template <bool transposed> __device__ void matrices(const bf16* x, uint32_t* out) {
  __shared__ __align__(16) bf16 rows[32][8];
  for (int i = 0; i < 8; i++) rows[threadIdx.x][i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  uint32_t r[4];
  if (transposed) ldmatrix_x4_trans(r, rows[threadIdx.x]);
  else ldmatrix_x4(r, rows[threadIdx.x]);
  for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = r[i];
}
KERNEL(matrices, 32, (const bf16* x, uint32_t* out)) { matrices<false>(x, out); }
KERNEL(matrices_transposed, 32, (const bf16* x, uint32_t* out)) { matrices<true>(x, out); }

// A whole product as attention does it: tiles to shared memory asynchronously, from there to registers.
KERNEL(tile_product, 32, (const bf16* a, const bf16* b, float* d)) {
  __shared__ __align__(16) bf16 tile_a[16][16], tile_b[16][8];
  uint32_t lane = threadIdx.x;
  cp_async_16(&tile_a[lane / 2][lane % 2 * 8], a + lane * 8, true);
  if (lane < 16) cp_async_16(tile_b[lane], b + lane * 8, true);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  uint32_t ra[4], rb[4];
  float rd[4] = {};
  ldmatrix_x4(ra, &tile_a[lane % 16][lane / 16 * 8]);
  // Of its four matrices two are asked for.
  ldmatrix_x4_trans(rb, tile_b[lane % 16]);
  mma_16816(rd, ra, {rb[0], rb[1]});
  for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = rd[i];
}

// Three groups of copies; at most `pending` of them are not waited for.
template <int pending> __device__ void copies(const float* x, float* y) {
  __shared__ __align__(16) float tile[3][4];
  for (int i = 0; i < 3; i++) {
    cp_async_16(tile[i], x + 4 * i, i != 1);
    cp_async_commit();
  }
  cp_async_wait<pending>();
  for (int i = 0; i < 12; i++) y[i] = tile[i / 4][i % 4];
}
KERNEL(copies_awaited, 1, (const float* x, float* y)) { copies<0>(x, y); }
KERNEL(copies_but_one, 1, (const float* x, float* y)) { copies<1>(x, y); }
KERNEL(copies_unawaited, 1, (const float* x, float* y)) { copies<3>(x, y); }

// A tile is fetched anew while its old numbers are still read.
KERNEL(copy_too_early, 64, (const float* x, float* y)) {
  __shared__ __align__(16) float tile[4];
  if (threadIdx.x < 4) tile[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 63) {
    cp_async_16(tile, x, true);
    cp_async_commit();
    cp_async_wait<0>();
  }
  y[threadIdx.x] = tile[0];
}

KERNEL(copy_from_afar, 1, (const float* x, uint32_t offset, uint32_t there)) {
  __shared__ __align__(16) float tile[4];
  cp_async_16(tile, x + offset, there);
}

KERNEL(rounded, 32, (const float* x, bf16* one, uint32_t* two, uint32_t n)) {
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    one[i] = from_f32<bf16>(x[i]);
    two[i] = pack_bf16(x[i], -x[i]);
  }
}

KERNEL(counters, 1, (uint32_t* words, uint32_t key0, uint32_t key1)) {
  uint32_t c[4] = {words[0], words[1], words[2], words[3]};
  philox(key0, key1, c);
  for (int i = 0; i < 4; i++) words[i] = c[i];
}

KERNEL(all_arguments, 1, (uint64_t* out, uint32_t a, uint64_t b, float c)) {
  out[0] = a;
  out[1] = b;
  out[2] = static_cast<uint64_t>(c * 4);
}
