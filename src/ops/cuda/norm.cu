// LayerNorm and RMSNorm with the residual addition before them. A row stays in registers from when it is
// read to when it is written: one warp holds up to 1024 columns, a block of eight up to 8192; rows that are
// no multiple of 16 bytes, or wider still, are read again from the caches instead. Statistics and sums
// are f32, and are those of the sum as it is stored: the backward reads nothing else.

constexpr uint32_t NORM_WARPS = 8;

// Calls f(i, column) for the 16-byte packs of a row that a thread holds: numbers i, i+1, … of its E are
// columns `column`, `column` + 1, …; G warps share the row.
template <class T, int E, int G, class F> __device__ inline void each_own(uint32_t cols, F f) {
  uint32_t lane = threadIdx.x % (G * WARP);
#pragma unroll
  for (int i = 0; i < E; i += PACK<T>) {
    uint32_t column = i * G * WARP + lane * PACK<T>;
    if (column < cols) f(i, column);
  }
}

// Two sums over the G warps that share a row, in each of their threads, in the order of the warps.
template <int G> __device__ inline void row_sums(float& a, float& b) {
  a = warp_sum(a);
  b = warp_sum(b);
  if constexpr (G > 1) {
    __shared__ float of_warps[NORM_WARPS][2];
    __syncthreads();  // All have read the last row's.
    if (threadIdx.x % WARP == 0) {
      of_warps[threadIdx.x / WARP][0] = a;
      of_warps[threadIdx.x / WARP][1] = b;
    }
    __syncthreads();
    a = b = 0;
    for (uint32_t w = 0; w < NORM_WARPS; w++) {
      a += of_warps[w][0];
      b += of_warps[w][1];
    }
  }
}
template <int G> __device__ inline float row_sum(float a) {
  float nothing = 0;
  row_sums<G>(a, nothing);
  return a;
}

// s = x + branch, y = (s − mean)·rstd·w + b, stats = (mean, rstd) of each row; without a branch s is x,
// and stats may be null. `centre` is 1 for LayerNorm, 0 for RMSNorm. blockIdx.y is the lane.
template <class T, int E, int G>
__device__ inline void norm_rows(const T* x, const T* branch, T* s, T* y, float* stats, const float* weight,
                                 const float* bias, uint32_t rows, uint32_t cols, float centre, float eps) {
  constexpr int N = PACK<T>;
  uint32_t of_lane = (blockIdx.x * NORM_WARPS + threadIdx.x / WARP) / G;
  if (of_lane >= rows) return;
  uint64_t row = static_cast<uint64_t>(blockIdx.y) * rows + of_lane, first = row * cols;
  weight += static_cast<uint64_t>(blockIdx.y) * cols;
  if (bias) bias += static_cast<uint64_t>(blockIdx.y) * cols;
  // All loads of a row before the first store, which the compiler can't move them over.
  Pack<T, N> held[E / N], more[E / N];
  each_own<T, E, G>(cols, [&](int i, uint32_t column) {
    held[i / N] = *reinterpret_cast<const Pack<T, N>*>(x + first + column);
    if (branch) more[i / N] = *reinterpret_cast<const Pack<T, N>*>(branch + first + column);
  });
  float v[E] = {}, sum = 0, squares = 0, per_col = 1.0f / cols;
  each_own<T, E, G>(cols, [&](int i, uint32_t column) {
#pragma unroll
    for (int j = 0; j < N; j++) {
      float both = to_f32(held[i / N].at[j]) + (branch ? to_f32(more[i / N].at[j]) : 0.0f);
      held[i / N].at[j] = from_f32<T>(both);
      v[i + j] = to_f32(held[i / N].at[j]);
      sum += v[i + j];
    }
    if (branch) *reinterpret_cast<Pack<T, N>*>(s + first + column) = held[i / N];
  });
  float mean = row_sum<G>(sum) * per_col * centre;
  each_own<T, E, G>(cols, [&](int i, uint32_t) {
#pragma unroll
    for (int j = 0; j < N; j++) squares += (v[i + j] - mean) * (v[i + j] - mean);
  });
  float rstd = rsqrtf(row_sum<G>(squares) * per_col + eps);
  each_own<T, E, G>(cols, [&](int i, uint32_t column) {
    float w[N], out[N];
    load_pack(weight + column, w);
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = (v[i + j] - mean) * rstd * w[j];
    if (bias) add_pack(bias + column, out);
    store_pack(y + first + column, out);
  });
  if (stats && threadIdx.x % (G * WARP) == 0) {
    stats[row * 2] = mean;
    stats[row * 2 + 1] = rstd;
  }
}

// The same for any row, a block for each.
template <class T>
__device__ inline void norm_any_row(const T* x, const T* branch, T* s, T* y, float* stats, const float* weight,
                                    const float* bias, uint32_t rows, uint32_t cols, float centre, float eps) {
  uint64_t row = static_cast<uint64_t>(blockIdx.y) * rows + blockIdx.x, first = row * cols;
  uint64_t of_lane = static_cast<uint64_t>(blockIdx.y) * cols;
  const T* in = branch ? s : x;
  float sum = 0, squares = 0, per_col = 1.0f / cols;
  for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
    if (branch) s[first + c] = from_f32<T>(to_f32(x[first + c]) + to_f32(branch[first + c]));
    sum += to_f32(in[first + c]);
  }
  float mean = row_sum<NORM_WARPS>(sum) * per_col * centre;
  for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
    float apart = to_f32(in[first + c]) - mean;
    squares += apart * apart;
  }
  float rstd = rsqrtf(row_sum<NORM_WARPS>(squares) * per_col + eps);
  for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
    float out = (to_f32(in[first + c]) - mean) * rstd * weight[of_lane + c];
    y[first + c] = from_f32<T>(bias ? out + bias[of_lane + c] : out);
  }
  if (stats && threadIdx.x == 0) {
    stats[row * 2] = mean;
    stats[row * 2 + 1] = rstd;
  }
}

// With n = (s − mean)·rstd and g = dy·w: ds = rstd·(g − centre·mean(g) − n·mean(g·n)), added to what is
// there where `add` says so. `partial` gets, for each lane and block, Σ dy·n and Σ dy over the rows that
// the block took, C numbers each. Sums stay in registers until the end, 2·E of them beside the
// row's 2·E numbers of T. So that none are spilled, a block has 16 warps of up to 128 registers where E is at
// most 24, and 12 of up to 168 for E = 32; sm_90's compiler keeps to both (-Xptxas -v). One such block fills a
// multiprocessor's registers and has the loads of 12 to 16 rows in flight, 48 KiB of bf16 at C = 768 or 1024.
template <class T, int E, int G>
__device__ inline void norm_rows_back(const T* s, const T* dy, T* ds, const float* stats, const float* weight,
                                      float* partial, uint32_t rows, uint32_t cols, float centre, uint32_t add) {
  constexpr int N = PACK<T>;
  float dw[E] = {}, db[E] = {}, per_col = 1.0f / cols;
  weight += static_cast<uint64_t>(blockIdx.y) * cols;
  uint32_t warps = blockDim.x / WARP, stride = gridDim.x * (warps / G);
  for (uint32_t r = (blockIdx.x * warps + threadIdx.x / WARP) / G; r < rows; r += stride) {
    uint64_t row = static_cast<uint64_t>(blockIdx.y) * rows + r, first = row * cols;
    Pack<T, N> held_s[E / N], held_dy[E / N];
    each_own<T, E, G>(cols, [&](int i, uint32_t column) {
      held_s[i / N] = *reinterpret_cast<const Pack<T, N>*>(s + first + column);
      held_dy[i / N] = *reinterpret_cast<const Pack<T, N>*>(dy + first + column);
    });
    float mean = stats[row * 2], rstd = stats[row * 2 + 1], sum_g = 0, sum_gn = 0;
    each_own<T, E, G>(cols, [&](int i, uint32_t column) {
      float w[N];
      load_pack(weight + column, w);
#pragma unroll
      for (int j = 0; j < N; j++) {
        float d = to_f32(held_dy[i / N].at[j]), n = (to_f32(held_s[i / N].at[j]) - mean) * rstd;
        dw[i + j] += d * n;
        db[i + j] += d;
        sum_g += d * w[j];
        sum_gn += d * w[j] * n;
      }
    });
    row_sums<G>(sum_g, sum_gn);
    float mean_g = sum_g * per_col * centre, mean_gn = sum_gn * per_col;
    each_own<T, E, G>(cols, [&](int i, uint32_t column) {
      float w[N], out[N];
      load_pack(weight + column, w);
#pragma unroll
      for (int j = 0; j < N; j++) {
        float d = to_f32(held_dy[i / N].at[j]), n = (to_f32(held_s[i / N].at[j]) - mean) * rstd;
        out[j] = rstd * (d * w[j] - mean_g - n * mean_gn);
      }
      if (add) add_pack(ds + first + column, out);
      store_pack(ds + first + column, out);
    });
  }
  partial += (static_cast<uint64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * 2 * cols;
  if constexpr (G > 1) {
    each_own<T, E, G>(cols, [&](int i, uint32_t column) {
      for (int j = 0; j < N; j++) {
        partial[column + j] = dw[i + j];
        partial[cols + column + j] = db[i + j];
      }
    });
  } else {
    __shared__ float sums[2][E * WARP];
    for (uint32_t warp = 0; warp < warps; warp++) {
      if (threadIdx.x / WARP == warp)
        each_own<T, E, G>(cols, [&](int i, uint32_t column) {
          for (int j = 0; j < N; j++) {
            sums[0][column + j] = warp == 0 ? dw[i + j] : sums[0][column + j] + dw[i + j];
            sums[1][column + j] = warp == 0 ? db[i + j] : sums[1][column + j] + db[i + j];
          }
        });
      __syncthreads();
    }
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
      partial[c] = sums[0][c];
      partial[cols + c] = sums[1][c];
    }
  }
}

// The same for any row: a block takes one after the other, and a thread keeps its columns' sums in `partial`.
template <class T>
__device__ inline void norm_any_row_back(const T* s, const T* dy, T* ds, const float* stats, const float* weight,
                                         float* partial, uint32_t rows, uint32_t cols, float centre, uint32_t add) {
  weight += static_cast<uint64_t>(blockIdx.y) * cols;
  partial += (static_cast<uint64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * 2 * cols;
  float per_col = 1.0f / cols;
  for (uint32_t c = threadIdx.x; c < 2 * cols; c += blockDim.x) partial[c] = 0;
  __syncthreads();  // The columns' threads below are others than those that cleared.
  for (uint32_t r = blockIdx.x; r < rows; r += gridDim.x) {
    uint64_t row = static_cast<uint64_t>(blockIdx.y) * rows + r, first = row * cols;
    float mean = stats[row * 2], rstd = stats[row * 2 + 1], sum_g = 0, sum_gn = 0;
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
      float d = to_f32(dy[first + c]), n = (to_f32(s[first + c]) - mean) * rstd;
      partial[c] += d * n;
      partial[cols + c] += d;
      sum_g += d * weight[c];
      sum_gn += d * weight[c] * n;
    }
    row_sums<NORM_WARPS>(sum_g, sum_gn);
    float mean_g = sum_g * per_col * centre, mean_gn = sum_gn * per_col;
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
      float n = (to_f32(s[first + c]) - mean) * rstd;
      float out = rstd * (to_f32(dy[first + c]) * weight[c] - mean_g - n * mean_gn);
      ds[first + c] = from_f32<T>(add ? out + to_f32(ds[first + c]) : out);
    }
  }
}

// Adds the blocks' partial sums, in their order within each of eight warps and then of the warps, to the
// gradients of the weight and the bias, which may be null. 32 columns a block; blockIdx.y is the lane.
KERNEL(norm_weights_backward, 256,
       (const float* partial, float* dweight, float* dbias, uint32_t blocks, uint32_t cols)) {
  __shared__ float sums[NORM_WARPS][WARP];
  uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, column = blockIdx.x * WARP + lane;
  partial += static_cast<uint64_t>(blockIdx.y) * blocks * 2 * cols;
  float sum = 0;
  if (column < 2 * cols)
    for (uint32_t block = warp; block < blocks; block += NORM_WARPS)
      sum += partial[static_cast<uint64_t>(block) * 2 * cols + column];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= 2 * cols) return;
  sum = 0;
  for (uint32_t w = 0; w < NORM_WARPS; w++) sum += sums[w][lane];
  uint64_t of_lane = static_cast<uint64_t>(blockIdx.y) * cols;
  if (column < cols) dweight[of_lane + column] += sum;
  else if (dbias) dbias[of_lane + column - cols] += sum;
}

#define NORM_FORWARD(name, T, rows_of)                                                                      \
  KERNEL(name, 256, (const T* x, const T* branch, T* s, T* y, float* stats, const float* weight,            \
                     const float* bias, uint32_t rows, uint32_t cols, float centre, float eps)) {           \
    rows_of(x, branch, s, y, stats, weight, bias, rows, cols, centre, eps);                                 \
  }
#define NORM_BACKWARD(name, threads, T, rows_of)                                                            \
  KERNEL(name, threads, (const T* s, const T* dy, T* ds, const float* stats, const float* weight,           \
                         float* partial, uint32_t rows, uint32_t cols, float centre, uint32_t add)) {       \
    rows_of(s, dy, ds, stats, weight, partial, rows, cols, centre, add);                                    \
  }
#define NORM_TWINS(width, E, G, threads)                                                    \
  NORM_FORWARD(norm_##width##_f32, float, (norm_rows<float, E, G>))                         \
  NORM_FORWARD(norm_##width##_bf16, bf16, (norm_rows<bf16, E, G>))                          \
  NORM_BACKWARD(norm_backward_##width##_f32, threads, float, (norm_rows_back<float, E, G>)) \
  NORM_BACKWARD(norm_backward_##width##_bf16, threads, bf16, (norm_rows_back<bf16, E, G>))
NORM_TWINS(256, 8, 1, 512)
NORM_TWINS(512, 16, 1, 512)
NORM_TWINS(768, 24, 1, 512)
NORM_TWINS(1024, 32, 1, 384)
NORM_TWINS(2048, 8, 8, 256)
NORM_TWINS(8192, 32, 8, 256)
NORM_FORWARD(norm_any_f32, float, norm_any_row)
NORM_FORWARD(norm_any_bf16, bf16, norm_any_row)
NORM_BACKWARD(norm_backward_any_f32, 256, float, norm_any_row_back)
NORM_BACKWARD(norm_backward_any_bf16, 256, bf16, norm_any_row_back)
