// Softmax cross-entropy of rows of logits, in one kernel: the row's log-sum-exp in one pass, by a sum
// that is rescaled when a larger number comes (Milakov & Gimelshein 2018), then its gradient in the place
// of the logits, which are still in the cache (as llm.c's `fused_classifier` does). A row begins at 16
// bytes: its numbers are followed by padding.

constexpr float LOWEST = -3.402823466e38f;
constexpr uint32_t IGNORED = 0xffffffffu;

// What is the same for all rows. A cap or a z-loss of 0 is none.
struct Classifier {
  uint32_t vocab;
  float cap, z_loss;
  bool train;
};

// The largest of some numbers, Σ exp(z − largest), and how many are no less than the target's.
struct Softmax {
  float top, total, as_high;
};

__device__ inline Softmax warp_softmax(Softmax mine) {
  float top = warp_max(mine.top);
  return {top, warp_sum(mine.total * __expf(mine.top - top)), warp_sum(mine.as_high)};
}

// Who works on a row together.
struct RowOfWarp {
  static __device__ inline uint32_t place() { return threadIdx.x % WARP; }
  static __device__ inline uint32_t size() { return WARP; }
  static __device__ inline Softmax all(Softmax mine) {
    Softmax sum = warp_softmax(mine);
    // What one lane has read another may overwrite from here on.
    __syncwarp();
    return sum;
  }
};
struct RowOfBlock {
  static __device__ inline uint32_t place() { return threadIdx.x; }
  static __device__ inline uint32_t size() { return blockDim.x; }
  static __device__ inline Softmax all(Softmax mine) {
    __shared__ Softmax of_warps[WARP];
    Softmax sum = warp_softmax(mine);
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = sum;
    __syncthreads();
    uint32_t lane = threadIdx.x % WARP;
    return warp_softmax(lane < blockDim.x / WARP ? of_warps[lane] : Softmax{LOWEST, 0.0f, 0.0f});
  }
};

// A pack of a row, capped; the lowest number where the row is over.
template <class T, int N>
__device__ inline void load_logits(const T* row, uint32_t first, const Classifier& it, float (&z)[N]) {
  load_pack(row + first, z);
#pragma unroll
  for (int j = 0; j < N; j++) {
    if (it.cap > 0.0f) z[j] = it.cap * tanhf(z[j] / it.cap);
    if (first + j >= it.vocab) z[j] = LOWEST;
  }
}

template <class Team, class T>
__device__ inline Softmax softmax_of(const T* row, const Classifier& it, float chosen) {
  constexpr int N = PACK<T>;
  Softmax sum = {LOWEST, 0.0f, 0.0f};
  for (uint32_t i = Team::place() * N; i < it.vocab; i += Team::size() * N) {
    float z[N], top = sum.top;
    load_logits(row, i, it, z);
#pragma unroll
    for (int j = 0; j < N; j++) top = fmaxf(top, z[j]);
    sum.total *= __expf(sum.top - top);
    sum.top = top;
#pragma unroll
    for (int j = 0; j < N; j++) {
      sum.total += __expf(z[j] - top);
      sum.as_high += z[j] >= chosen ? 1.0f : 0.0f;
    }
  }
  return Team::all(sum);
}

// The row becomes scale·((1 + 2·z_loss·lse)·softmax − one-hot), times the cap's slope.
template <class Team, class T>
__device__ inline void gradient_of(T* row, const Classifier& it, uint32_t target, Softmax sum, float scale) {
  constexpr int N = PACK<T>;
  float lse = logf(sum.total) + sum.top;
  float factor = scale * (1.0f + 2.0f * lse * it.z_loss) / sum.total;
  for (uint32_t i = Team::place() * N; i < it.vocab; i += Team::size() * N) {
    float z[N], d[N];
    load_logits(row, i, it, z);
#pragma unroll
    for (int j = 0; j < N; j++) {
      d[j] = factor * __expf(z[j] - sum.top);
      if (i + j == target) d[j] -= scale;
      if (it.cap > 0.0f && i + j < it.vocab) d[j] *= 1.0f - z[j] / it.cap * (z[j] / it.cap);
    }
    store_pack(row + i, d);
  }
}

// Gives the row's nats and whether its target is the likeliest; in training the row becomes its gradient.
template <class Team, class T>
__device__ inline void classify(T* row, const Classifier& it, uint32_t target, float scale, float* nats,
                                uint32_t* likeliest) {
  constexpr int N = PACK<T>;
  if (target == IGNORED) {
    float zeros[N] = {};
    for (uint32_t i = Team::place() * N; it.train && i < it.vocab; i += Team::size() * N) store_pack(row + i, zeros);
    if (Team::place() == 0) {
      *nats = 0.0f;
      if (likeliest) *likeliest = 0;
    }
    return;
  }
  float chosen = to_f32(row[target]);
  if (it.cap > 0.0f) chosen = it.cap * tanhf(chosen / it.cap);
  Softmax sum = softmax_of<Team>(row, it, chosen);
  if (Team::place() == 0) {
    float lse = logf(sum.total) + sum.top;
    *nats = logf(sum.total) + (sum.top - chosen) + it.z_loss * lse * lse;
    if (likeliest) *likeliest = sum.as_high == 1.0f;
  }
  if (it.train) gradient_of<Team>(row, it, target, sum, scale);
}

// Grid (rows, K): `count` rows of each lane, from row `first` of its `rows` on; `logits` (K, count,
// stride) are of these alone, `targets`, `nats` and `likeliest` (K, rows) of all.
template <class Team, class T>
__device__ inline void classify_rows(T* logits, const uint32_t* targets, const Lane* lanes, float* nats,
                                     uint32_t* likeliest, uint32_t first, uint32_t count, uint32_t rows,
                                     uint32_t stride, Classifier it) {
  uint32_t teams = blockDim.x / Team::size(), k = blockIdx.y;
  uint32_t row = blockIdx.x * teams + threadIdx.x / Team::size();
  if (row >= count) return;
  logits += (static_cast<uint64_t>(k) * count + row) * stride;
  uint64_t at = static_cast<uint64_t>(k) * rows + first + row;
  classify<Team>(logits, it, targets[at], lanes[k].inverse_targets, nats + at, likeliest ? likeliest + at : nullptr);
}

// A row for a warp, four warps in a block; and a row for a block.
KERNEL(classify_by_warps_f32, 128,
       (float* logits, const uint32_t* targets, const Lane* lanes, float* nats, uint32_t* likeliest, uint32_t first,
        uint32_t count, uint32_t rows, uint32_t stride, uint32_t vocab, float cap, float z_loss, uint32_t train)) {
  Classifier it = {vocab, cap, z_loss, train != 0};
  classify_rows<RowOfWarp>(logits, targets, lanes, nats, likeliest, first, count, rows, stride, it);
}
KERNEL(classify_by_warps_bf16, 128,
       (bf16* logits, const uint32_t* targets, const Lane* lanes, float* nats, uint32_t* likeliest, uint32_t first,
        uint32_t count, uint32_t rows, uint32_t stride, uint32_t vocab, float cap, float z_loss, uint32_t train)) {
  Classifier it = {vocab, cap, z_loss, train != 0};
  classify_rows<RowOfWarp>(logits, targets, lanes, nats, likeliest, first, count, rows, stride, it);
}
KERNEL(classify_by_blocks_f32, 512,
       (float* logits, const uint32_t* targets, const Lane* lanes, float* nats, uint32_t* likeliest, uint32_t first,
        uint32_t count, uint32_t rows, uint32_t stride, uint32_t vocab, float cap, float z_loss, uint32_t train)) {
  Classifier it = {vocab, cap, z_loss, train != 0};
  classify_rows<RowOfBlock>(logits, targets, lanes, nats, likeliest, first, count, rows, stride, it);
}
KERNEL(classify_by_blocks_bf16, 512,
       (bf16* logits, const uint32_t* targets, const Lane* lanes, float* nats, uint32_t* likeliest, uint32_t first,
        uint32_t count, uint32_t rows, uint32_t stride, uint32_t vocab, float cap, float z_loss, uint32_t train)) {
  Classifier it = {vocab, cap, z_loss, train != 0};
  classify_rows<RowOfBlock>(logits, targets, lanes, nats, likeliest, first, count, rows, stride, it);
}

// Block k: adds the mean over a lane's rows of their nats to its loss, in f64 and always in one order.
KERNEL(add_losses, 512, (const float* nats, const double* denominators, double* losses, uint32_t rows)) {
  __shared__ double sums[512];
  nats += static_cast<uint64_t>(blockIdx.x) * rows;
  double sum = 0.0;
#pragma unroll 4
  for (uint32_t row = threadIdx.x; row < rows; row += blockDim.x) sum += nats[row];
  sums[threadIdx.x] = sum;
  for (uint32_t half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) losses[blockIdx.x] += sums[0] / denominators[blockIdx.x];
}
