// One optimizer step of all lanes, in three launches however many parameters there are: sums of squares
// of the gradients; each lane's norm, and whether the lane goes on; the update. Parameters come as one
// table of chunks, as in Apex's multi-tensor kernels (NVIDIA/apex, csrc/multi_tensor_apply.cuh).

namespace step {

// `Rule` in `step.rs`, in its order.
enum Rule : uint32_t { ADAMW, SGD, SGD_MOMENTUM, LION, MUON };

// A piece of one lane of one parameter: `Chunk` in `step.rs`, field by field.
struct Chunk {
  uint64_t first;      // of its elements in the arenas
  uint64_t direction;  // Muon's: of its elements among the directions
  uint32_t len;        // at most CHUNK
  uint32_t rule;
  float rate, decay;   // factors on the lane's
};

// How a lane stands in this step.
struct Standing {
  float clip;       // factor on the gradients
  uint32_t frozen;  // the first step, counted from 1, that was not finite: the last; 0 while there is none
};

// What a step was, for the host to read later: `Seen` in `step.rs`.
struct Seen {
  double loss, norm;
  uint32_t step, frozen;
};

// A thread has 16 elements of a chunk: enough blocks to fill a device with a model of a million weights,
// and a table that is small beside what it speaks of.
constexpr uint32_t THREADS = 256, CHUNK = 4096;
// Steps that can wait to be read.
constexpr uint32_t SLOTS = 64;

// The sum over a block of THREADS, in its first thread, in a fixed order. Once in a kernel.
template <class Sum> __device__ inline Sum block_sum(Sum x) {
  __shared__ Sum warps[THREADS / WARP];
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(ALL_LANES, x, offset);
  if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = x;
  __syncthreads();
  Sum sum = 0;
  if (threadIdx.x == 0)
    for (uint32_t i = 0; i < THREADS / WARP; i++) sum += warps[i];
  return sum;
}

// Up to four numbers that follow each other: in one load or store if there are four and the first is
// aligned to as many.
template <class T> __device__ inline void load_four(const T* from, uint64_t i, uint32_t n, float (&to)[4]) {
  if (n == 4 && i % 4 == 0) return load_pack(from + i, to);
#pragma unroll
  for (uint32_t j = 0; j < 4; j++) to[j] = j < n ? to_f32(from[i + j]) : 0.0f;
}
template <class T> __device__ inline void store_four(T* to, uint64_t i, uint32_t n, const float (&from)[4]) {
  if (n == 4 && i % 4 == 0) return store_pack(to + i, from);
#pragma unroll
  for (uint32_t j = 0; j < 4; j++)
    if (j < n) to[i + j] = from_f32<T>(from[j]);
}

// Calls f(first, how many) for fours of a chunk. Which thread has which does not depend on where the chunk
// lies, so that a sum over them has the same bits in every lane of every pack.
template <class F> __device__ inline void each_four(uint32_t len, F f) {
  for (uint32_t i = 4 * threadIdx.x; i < len; i += 4 * THREADS) f(i, len - i < 4 ? len - i : 4);
}

// This block's chunk: lanes have as many chunks each, one lane's after another's.
__device__ inline uint64_t chunk_idx() { return static_cast<uint64_t>(blockIdx.y) * gridDim.x + blockIdx.x; }

// A chunk's weights, and what goes with them.
template <class T> struct Weights {
  float* values;
  T* shadow;       // null where there is none
  float* average;  // null where none is kept
  float average_keep, average_take;

  // Writes weights and, in the same pass, their rounded copy and their average.
  __device__ inline void store(uint64_t i, uint32_t n, const float (&w)[4]) const {
    store_four(values, i, n, w);
    if (shadow) store_four(shadow, i, n, w);
    if (!average) return;
    float a[4];
    load_four(average, i, n, a);
#pragma unroll
    for (int j = 0; j < 4; j++) a[j] = fmaf(average_keep, a[j], average_take * w[j]);
    store_four(average, i, n, a);
  }
};

// The rate of a chunk's step, and what it leaves of a weight.
__device__ inline float rate(const Lane& lane, const Chunk& chunk) { return lane.lr * chunk.rate; }
__device__ inline float keep(const Lane& lane, const Chunk& chunk) {
  return fmaf(-rate(lane, chunk), lane.decay * chunk.decay, 1.0f);
}

// Moves a chunk's weights by f(weight, gradient, first moment, second moment); a moment that a rule has no
// use for is neither read nor written.
template <bool FIRST, bool SECOND, class T, class F>
__device__ inline void move(const Chunk& chunk, const Weights<T>& weights, const float* grads, float* first,
                            float* second, F f) {
  each_four(chunk.len, [&](uint32_t at, uint32_t n) {
    uint64_t i = chunk.first + at;
    float w[4], g[4], m[4], v[4];
    load_four(weights.values, i, n, w);
    load_four(grads, i, n, g);
    if (FIRST) load_four(first, i, n, m);
    if (SECOND) load_four(second, i, n, v);
#pragma unroll
    for (int j = 0; j < 4; j++) w[j] = f(w[j], g[j], m[j], v[j]);
    if (FIRST) store_four(first, i, n, m);
    if (SECOND) store_four(second, i, n, v);
    weights.store(i, n, w);
  });
}

// AdamW (Loshchilov & Hutter 2019).
struct Adamw {
  float clip, beta1, beta2, rest1, rest2, rate, keep, root2, eps;
  __device__ inline Adamw(const Lane& lane, const Chunk& chunk, float clip)
      : clip(clip), beta1(lane.beta1), beta2(lane.beta2), rest1(lane.rest1), rest2(lane.rest2),
        rate(step::rate(lane, chunk) / lane.correction1), keep(step::keep(lane, chunk)),
        root2(1.0f / sqrtf(lane.correction2)), eps(lane.eps) {}
  __device__ inline float operator()(float w, float g, float& m, float& v) const {
    g *= clip;
    m = fmaf(beta1, m, rest1 * g);
    v = fmaf(beta2, v, rest2 * g * g);
    return fmaf(w, keep, -(rate * (m / fmaf(sqrtf(v), root2, eps))));
  }
};

// SGD as `torch.optim.SGD` has it: the decay is part of the gradient.
struct Sgd {
  float clip, decay, rate, momentum, of_gradient, of_momentum;
  __device__ inline Sgd(const Lane& lane, const Chunk& chunk, float clip)
      : clip(clip), decay(lane.decay * chunk.decay), rate(step::rate(lane, chunk)), momentum(lane.momentum),
        of_gradient(lane.nesterov ? 1.0f : 0.0f), of_momentum(lane.nesterov ? lane.momentum : 1.0f) {}
  __device__ inline float plain(float w, float g) const { return fmaf(rate, -fmaf(decay, w, g * clip), w); }
  __device__ inline float with_momentum(float w, float g, float& m) const {
    g = fmaf(decay, w, g * clip);
    m = fmaf(momentum, m, g);
    return fmaf(rate, -fmaf(of_momentum, m, of_gradient * g), w);
  }
};

// Lion (Chen et al. 2023): a step of the rate against the sign of the mixed momentum.
struct Lion {
  float clip, beta1, beta2, rest1, rest2, rate, keep;
  __device__ inline Lion(const Lane& lane, const Chunk& chunk, float clip)
      : clip(clip), beta1(lane.beta1), beta2(lane.beta2), rest1(lane.rest1), rest2(lane.rest2),
        rate(step::rate(lane, chunk)), keep(step::keep(lane, chunk)) {}
  __device__ inline float operator()(float w, float g, float& m) const {
    g *= clip;
    float mixed = fmaf(beta1, m, rest1 * g);
    m = fmaf(beta2, m, rest2 * g);
    float by = mixed > 0.0f ? rate : mixed < 0.0f ? -rate : 0.0f;
    return fmaf(w, keep, -by);
  }
};

// The momentum of Muon's matrices, and the direction that is to be made orthogonal. Returns this thread's
// sum of the direction's squares.
template <class T>
__device__ inline float turn(const Chunk& chunk, const Lane& lane, float clip, const float* grads, float* first,
                             T* directions) {
  float of_gradient = lane.nesterov ? lane.rest : 0.0f, of_momentum = lane.nesterov ? lane.momentum : 1.0f;
  float sum = 0;
  each_four(chunk.len, [&](uint32_t at, uint32_t n) {
    float g[4], m[4], x[4];
    load_four(grads, chunk.first + at, n, g);
    load_four(first, chunk.first + at, n, m);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      g[j] *= clip;
      m[j] = fmaf(lane.momentum, m[j], lane.rest * g[j]);
      x[j] = fmaf(of_momentum, m[j], of_gradient * g[j]);
      sum = fmaf(x[j], x[j], sum);
    }
    store_four(first, chunk.first + at, n, m);
    store_four(directions, chunk.direction + at, n, x);
  });
  return sum;
}

template <class T>
__device__ inline void update(const Chunk& chunk, const Lane& lane, float clip, const Weights<T>& weights,
                              const float* grads, float* first, float* second) {
  switch (chunk.rule) {
    case ADAMW: {
      Adamw rule(lane, chunk, clip);
      return move<true, true>(chunk, weights, grads, first, second, rule);
    }
    case SGD: {
      Sgd rule(lane, chunk, clip);
      return move<false, false>(chunk, weights, grads, first, second,
                                [=](float w, float g, float&, float&) { return rule.plain(w, g); });
    }
    case SGD_MOMENTUM: {
      Sgd rule(lane, chunk, clip);
      return move<true, false>(chunk, weights, grads, first, second,
                               [=](float w, float g, float& m, float&) { return rule.with_momentum(w, g, m); });
    }
    case LION: {
      Lion rule(lane, chunk, clip);
      return move<true, false>(chunk, weights, grads, first, second,
                               [=](float w, float g, float& m, float&) { return rule(w, g, m); });
    }
  }
}

// One chunk's part in the step; Muon's chunks give their direction and the sum of its squares, and are
// moved when all directions are orthogonal.
template <class T>
__device__ inline void update_or_turn(const Chunk* chunks, const Lane* lanes, const Standing* standings,
                                      float* values, T* shadow, float* average, const float* grads, float* first,
                                      float* second, T* directions, double* sums) {
  Standing standing = standings[blockIdx.y];
  if (standing.frozen) return;
  Chunk chunk = chunks[chunk_idx()];
  const Lane& lane = lanes[blockIdx.y];
  if (chunk.rule != MUON) {
    Weights<T> weights = {values, shadow, average, lane.average_keep, lane.average_take};
    return update(chunk, lane, standing.clip, weights, grads, first, second);
  }
  float sum = block_sum(turn(chunk, lane, standing.clip, grads, first, directions));
  if (threadIdx.x == 0) sums[chunk_idx()] = sum;
}

}  // namespace step

// The sum of squares of each chunk's gradients.
KERNEL(sum_squares, 256, (const step::Chunk* chunks, const float* grads, double* sums)) {
  step::Chunk chunk = chunks[step::chunk_idx()];
  float sum = 0;
  step::each_four(chunk.len, [&](uint32_t at, uint32_t n) {
    float g[4];
    step::load_four(grads, chunk.first + at, n, g);
#pragma unroll
    for (int j = 0; j < 4; j++) sum = fmaf(g[j], g[j], sum);
  });
  sum = step::block_sum(sum);
  if (threadIdx.x == 0) sums[step::chunk_idx()] = sum;
}

// One block a lane: its norm, its clip, whether it goes on, and what the host will read. Losses are cleared
// for the next step.
KERNEL(finish_step, 256,
       (const double* sums, uint32_t chunks, const Lane* lanes, double* losses, step::Standing* standings,
        step::Seen* seen)) {
  uint32_t k = blockIdx.x;
  double sum = 0;
  for (uint32_t i = threadIdx.x; i < chunks; i += step::THREADS) sum += sums[static_cast<uint64_t>(k) * chunks + i];
  sum = step::block_sum(sum);
  if (threadIdx.x != 0) return;
  const Lane& lane = lanes[k];
  double norm = sqrt(sum), loss = losses[k], most = lane.max_grad_norm;
  uint32_t now = lane.step + 1, frozen = standings[k].frozen;
  // Infinity less infinity is not 0, and nothing of what is not a number is.
  bool finite = loss - loss == 0.0 && norm - norm == 0.0;
  if (!frozen && !finite) frozen = now;
  float clip = most > 0.0 && norm > most ? static_cast<float>(most / (norm + 1e-6)) : 1.0f;
  standings[k] = {clip, frozen};
  seen[k * step::SLOTS + lane.step % step::SLOTS] = {loss, norm, now, frozen};
  losses[k] = 0.0;
}

KERNEL(update_f32, 256,
       (const step::Chunk* chunks, const Lane* lanes, const step::Standing* standings, float* values, float* shadow,
        float* average, const float* grads, float* first, float* second, float* directions, double* sums)) {
  step::update_or_turn(chunks, lanes, standings, values, shadow, average, grads, first, second, directions, sums);
}
KERNEL(update_bf16, 256,
       (const step::Chunk* chunks, const Lane* lanes, const step::Standing* standings, float* values, bf16* shadow,
        float* average, const float* grads, float* first, float* second, bf16* directions, double* sums)) {
  step::update_or_turn(chunks, lanes, standings, values, shadow, average, grads, first, second, directions, sums);
}

// Weights for their average and the average for the weights. What lies where stays as it is, so that a
// captured graph reads the one or the other.
template <class T> __device__ inline void swap_average(float* values, float* average, T* shadow, uint64_t len) {
  each_pack<float>(len, [=](uint64_t i, auto width) {
    float w[width.value], a[width.value];
    load_pack(values + i, w);
    load_pack(average + i, a);
    store_pack(values + i, a);
    store_pack(average + i, w);
    if (shadow) store_pack(shadow + i, a);
  });
}
KERNEL(swap_average_f32, 256, (float* values, float* average, float* shadow, uint64_t len)) {
  swap_average(values, average, shadow, len);
}
KERNEL(swap_average_bf16, 256, (float* values, float* average, bf16* shadow, uint64_t len)) {
  swap_average(values, average, shadow, len);
}
