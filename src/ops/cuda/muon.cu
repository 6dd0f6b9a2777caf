// Muon's Newton–Schulz iteration (Jordan 2024, kellerjordan.github.io/posts/muon), beside its matrix
// products: all matrices of one shape, of all layers and lanes, side by side.

namespace muon {

constexpr uint32_t ROWS = 8;  // of a block: one to each warp, so that a row's columns are read together

// Calls f(element, column, width of the pack) for one row's packs of 16 bytes, or one by one where rows
// are not whole packs.
template <class T, class F> __device__ inline void each_of_row(uint64_t row, uint32_t cols, F f) {
  constexpr uint32_t N = PACK<T>;
  uint32_t lane = threadIdx.x % WARP;
  if (cols % N == 0)
    for (uint32_t col = lane * N; col < cols; col += WARP * N) f(row * cols + col, col, Width<N>{});
  else
    for (uint32_t col = lane; col < cols; col += WARP) f(row * cols + col, col, Width<1>{});
}

__device__ inline uint64_t row_idx() { return static_cast<uint64_t>(blockIdx.x) * ROWS + threadIdx.x / WARP; }

// y = x divided by the norm of its matrix. Rows are those of all matrices.
template <class T>
__device__ inline void normalise(const T* x, const float* scales, T* y, uint64_t rows, uint32_t rows_of_one,
                                 uint32_t cols) {
  uint64_t row = row_idx();
  if (row >= rows) return;
  float scale = scales[row / rows_of_one];
  each_of_row<T>(row, cols, [=](uint64_t i, uint32_t, auto width) {
    float v[width.value];
    load_pack(x + i, v);
#pragma unroll
    for (int j = 0; j < width.value; j++) v[j] *= scale;
    store_pack(y + i, v);
  });
}

// p = a·I + b·G + c·G², with G² in p before: square matrices of this side.
template <class T>
__device__ inline void quintic(const T* g, T* p, uint64_t rows, uint32_t side, float a, float b, float c) {
  uint64_t row = row_idx();
  if (row >= rows) return;
  uint32_t diagonal = static_cast<uint32_t>(row % side);
  each_of_row<T>(row, side, [=](uint64_t i, uint32_t col, auto width) {
    float gs[width.value], ps[width.value];
    load_pack(g + i, gs);
    load_pack(p + i, ps);
#pragma unroll
    for (int j = 0; j < width.value; j++) {
      ps[j] = fmaf(c, ps[j], b * gs[j]);
      if (col + j == diagonal) ps[j] += a;
    }
    store_pack(p + i, ps);
  });
}

// Moves a chunk's weights against their orthogonal direction.
template <class T>
__device__ inline void move(const step::Chunk& chunk, const Lane& lane, const step::Weights<T>& weights,
                            const T* directions) {
  float rate = step::rate(lane, chunk), keep = step::keep(lane, chunk);
  step::each_four(chunk.len, [&](uint32_t at, uint32_t n) {
    float w[4], x[4];
    step::load_four(weights.values, chunk.first + at, n, w);
    step::load_four(directions, chunk.direction + at, n, x);
#pragma unroll
    for (int j = 0; j < 4; j++) w[j] = fmaf(w[j], keep, -(rate * x[j]));
    weights.store(chunk.first + at, n, w);
  });
}

// Lanes have `per_lane` chunks each, of which matrices are those from `skipped` on.
template <class T>
__device__ inline void move_matrices(const step::Chunk* chunks, uint32_t per_lane, uint32_t skipped,
                                     const Lane* lanes, const step::Standing* standings, float* values, T* shadow,
                                     float* average, const T* directions) {
  if (standings[blockIdx.y].frozen) return;
  step::Chunk chunk = chunks[static_cast<uint64_t>(blockIdx.y) * per_lane + skipped + blockIdx.x];
  const Lane& lane = lanes[blockIdx.y];
  step::Weights<T> weights = {values, shadow, average, lane.average_keep, lane.average_take};
  move(chunk, lane, weights, directions);
}

}  // namespace muon

// One block a matrix: 1/norm out of the sums of squares of its chunks, which follow each other from
// `firsts` on.
KERNEL(muon_scales, 256,
       (const double* sums, const uint32_t* firsts, uint32_t chunks, float least, float* scales)) {
  double sum = 0;
  for (uint32_t i = threadIdx.x; i < chunks; i += step::THREADS) sum += sums[firsts[blockIdx.x] + i];
  sum = step::block_sum(sum);
  if (threadIdx.x != 0) return;
  double norm = sqrt(sum);
  scales[blockIdx.x] = static_cast<float>(1.0 / (norm > least ? norm : least));
}

KERNEL(muon_normalise_f32, 256,
       (const float* x, const float* scales, float* y, uint64_t rows, uint32_t rows_of_one, uint32_t cols)) {
  muon::normalise(x, scales, y, rows, rows_of_one, cols);
}
KERNEL(muon_normalise_bf16, 256,
       (const bf16* x, const float* scales, bf16* y, uint64_t rows, uint32_t rows_of_one, uint32_t cols)) {
  muon::normalise(x, scales, y, rows, rows_of_one, cols);
}

KERNEL(muon_quintic_f32, 256, (const float* g, float* p, uint64_t rows, uint32_t side, float a, float b, float c)) {
  muon::quintic(g, p, rows, side, a, b, c);
}
KERNEL(muon_quintic_bf16, 256, (const bf16* g, bf16* p, uint64_t rows, uint32_t side, float a, float b, float c)) {
  muon::quintic(g, p, rows, side, a, b, c);
}

KERNEL(muon_move_f32, 256,
       (const step::Chunk* chunks, uint32_t per_lane, uint32_t skipped, const Lane* lanes,
        const step::Standing* standings, float* values, float* shadow, float* average, const float* directions)) {
  muon::move_matrices(chunks, per_lane, skipped, lanes, standings, values, shadow, average, directions);
}
KERNEL(muon_move_bf16, 256,
       (const step::Chunk* chunks, uint32_t per_lane, uint32_t skipped, const Lane* lanes,
        const step::Standing* standings, float* values, bf16* shadow, float* average, const bf16* directions)) {
  muon::move_matrices(chunks, per_lane, skipped, lanes, standings, values, shadow, average, directions);
}
