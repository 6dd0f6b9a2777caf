// The gradient of a linear layer's bias: the sum of each column, in an order that does not depend on the
// device. Pieces of the rows are summed side by side, then the pieces' sums one after the other.

// Warps of a block: each sums every eighth row of a piece.
constexpr int SUMMING = 8;

// Block (tile, piece, lane): the sums of 32·N columns of x (K, rows, cols) over `piece` rows.
template <int N, class T>
__device__ inline void sum_piece(const T* x, float* partial, uint32_t rows, uint32_t cols, uint32_t piece) {
  // By lane inside: neighbours write to neighbouring banks.
  __shared__ float sums[SUMMING][N][WARP];
  uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  uint32_t first = blockIdx.x * WARP * N, col = first + lane * N;
  uint32_t end = (blockIdx.y + 1) * piece < rows ? (blockIdx.y + 1) * piece : rows;
  float sum[N] = {};
  if (col < cols) {
    x += static_cast<uint64_t>(blockIdx.z) * rows * cols + col;
#pragma unroll 4
    for (uint32_t row = blockIdx.y * piece + warp; row < end; row += SUMMING) {
      float v[N];
      load_pack(x + static_cast<uint64_t>(row) * cols, v);
#pragma unroll
      for (int j = 0; j < N; j++) sum[j] += v[j];
    }
  }
#pragma unroll
  for (int j = 0; j < N; j++) sums[warp][j][lane] = sum[j];
  __syncthreads();
  partial += (static_cast<uint64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * cols;
  for (uint32_t i = threadIdx.x; i < WARP * N && first + i < cols; i += blockDim.x) {
    float total = 0.0f;
    for (int w = 0; w < SUMMING; w++) total += sums[w][i % N][i / N];
    partial[first + i] = total;
  }
}
// Of rows that are no whole packs, numbers come one by one.
template <class T>
__device__ inline void column_sums(const T* x, float* partial, uint32_t rows, uint32_t cols, uint32_t piece) {
  if (cols % PACK<T> == 0) sum_piece<PACK<T>>(x, partial, rows, cols, piece);
  else sum_piece<1>(x, partial, rows, cols, piece);
}
KERNEL(column_sums_f32, SUMMING * WARP,
       (const float* x, float* partial, uint32_t rows, uint32_t cols, uint32_t piece)) {
  column_sums(x, partial, rows, cols, piece);
}
KERNEL(column_sums_bf16, SUMMING * WARP,
       (const bf16* x, float* partial, uint32_t rows, uint32_t cols, uint32_t piece)) {
  column_sums(x, partial, rows, cols, piece);
}

// Block (32 columns, lane): adds the sums of all pieces to `sums` (K, cols).
KERNEL(add_column_sums, SUMMING * WARP, (const float* partial, float* sums, uint32_t pieces, uint32_t cols)) {
  __shared__ float some[SUMMING][WARP];
  uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  uint32_t col = blockIdx.x * WARP + lane;
  float sum = 0.0f;
  if (col < cols) {
    partial += static_cast<uint64_t>(blockIdx.y) * pieces * cols + col;
#pragma unroll 4
    for (uint32_t piece = warp; piece < pieces; piece += SUMMING) sum += partial[static_cast<uint64_t>(piece) * cols];
  }
  some[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && col < cols) {
    float total = 0.0f;
    for (int w = 0; w < SUMMING; w++) total += some[w][lane];
    sums[static_cast<uint64_t>(blockIdx.y) * cols + col] += total;
  }
}
