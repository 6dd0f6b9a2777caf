// Attention without tensor cores: f32, and bf16 heads that the tensor cores' kernels have no size for. The
// same algorithm with all of it in f32, so that --dtype f32 is f32 throughout.
//
// 256 threads as 16×16 work on tiles of 16·R by 16·R scores, R×R a thread: 2·R/(R·R) loads from shared
// memory a multiply-add. R = 4 where rows have up to 128 columns; R = 2 up to 256, for which four
// tiles of 64 rows would be more shared memory than there is.
#include "attention.cuh"

namespace attention {

constexpr int PLAIN_THREADS = 256, SIDE = 16;

// Elements of a tile's row: a multiple of four, of which zeros fill the end, and four more, so that rows
// of 32, 64, … columns do not begin in the same bank.
__device__ inline uint32_t padded(uint32_t dim) { return (dim + 3) / 4 * 4; }
__device__ inline uint32_t pitch_of(uint32_t dim) { return padded(dim) + 4; }

using Four = Pack<float, 4>;
__device__ __forceinline__ Four four_at(const float* at) { return *reinterpret_cast<const Four*>(at); }

// A block's tile of 16·R rows of up to 64·C columns; thread (x, y) has rows y + 16·i.
template <class T, int R, int C> struct Plain {
  static constexpr uint32_t ROWS = SIDE * R, WEIGHTS = ROWS + 4;
  using Scores = float[R][R];    // (y + 16·i, x + 16·j)
  using Sums = float[R][C * 4];  // (y + 16·i, 64·(c / 4) + 4·x + c % 4)

  static __device__ uint32_t x() { return threadIdx.x % SIDE; }
  static __device__ uint32_t y() { return threadIdx.x / SIDE; }

  // A warp takes a row at a time.
  static __device__ void load(float* tile, const Rows<const T>& rows, uint32_t first) {
    uint32_t cols = padded(rows.dim), pitch = pitch_of(rows.dim);
    for (uint32_t row = threadIdx.x / WARP; row < ROWS; row += PLAIN_THREADS / WARP)
      for (uint32_t col = threadIdx.x % WARP; col < cols; col += WARP) {
        bool there = first + row < rows.end && col < rows.dim;
        tile[row * pitch + col] = there ? to_f32(rows.at[(first + row) * rows.row + col]) : 0;
      }
  }

  // s ← A·Bᵀ of two tiles.
  static __device__ void dots(Scores& s, const float* a, const float* b, uint32_t dim) {
    uint32_t pitch = pitch_of(dim);
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) s[i][j] = 0;
    for (uint32_t col = 0; col < dim; col += 4) {
      Four left[R], right[R];
#pragma unroll
      for (int i = 0; i < R; i++) {
        left[i] = four_at(a + (y() + SIDE * i) * pitch + col);
        right[i] = four_at(b + (x() + SIDE * i) * pitch + col);
      }
#pragma unroll
      for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++)
#pragma unroll
          for (int c = 0; c < 4; c++) s[i][j] = fmaf(left[i].at[c], right[j].at[c], s[i][j]);
    }
  }

  static __device__ void put(float* weights, const Scores& s) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) weights[(y() + SIDE * i) * WEIGHTS + x() + SIDE * j] = s[i][j];
  }
  static __device__ void get(const float* weights, Scores& s) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) s[i][j] = weights[(y() + SIDE * i) * WEIGHTS + x() + SIDE * j];
  }

  // sums += W·B of weights and a tile.
  static __device__ void blend(Sums& sums, const float* weights, const float* b, uint32_t dim) {
    uint32_t cols = padded(dim), pitch = pitch_of(dim);
    for (uint32_t k = 0; k < ROWS; k += 4) {
      Four w[R];
#pragma unroll
      for (int i = 0; i < R; i++) w[i] = four_at(weights + (y() + SIDE * i) * WEIGHTS + k);
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int c = 0; c < C; c++) {
          uint32_t col = 64 * c + 4 * x();
          if (col >= cols) continue;
          Four row = four_at(b + (k + n) * pitch + col);
#pragma unroll
          for (int i = 0; i < R; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[i][4 * c + e] = fmaf(w[i].at[n], row.at[e], sums[i][4 * c + e]);
        }
    }
  }

  static __device__ void clear(Sums& sums) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int c = 0; c < C * 4; c++) sums[i][c] = 0;
  }

  // Stores row y + 16·i of the sums times a factor as row `first` + y + 16·i.
  static __device__ void store(const Rows<T>& rows, uint32_t first, int i, const Sums& sums, float factor, bool add) {
    uint32_t row = first + y() + SIDE * i;
    if (row >= rows.end) return;
    T* to = rows.at + row * rows.row;
#pragma unroll
    for (int c = 0; c < C * 4; c++) {
      uint32_t col = 64 * (c / 4) + 4 * x() + c % 4;
      if (col >= rows.dim) continue;
      float value = sums[i][c] * factor;
      to[col] = from_f32<T>(add ? value + to_f32(to[col]) : value);
    }
  }

  // The largest and the sum over a row's sixteen threads, which are half a warp.
  static __device__ float row_max(float value) {
    for (int bits = SIDE / 2; bits > 0; bits /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, bits));
    return value;
  }
  static __device__ float row_sum(float value) {
    for (int bits = SIDE / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(ALL_LANES, value, bits);
    return value;
  }

  // Zeros the weights that dropout drops, and scales the others, if there is any dropout. Weights of a
  // query lie `per_query` from the next query's, and `per_key` from the next key's. Afterwards everyone sees
  // all of them.
  static __device__ void drop(float* weights, const Mask<true>& mask, uint32_t query, uint32_t key,
                              uint32_t per_query, uint32_t per_key) {
    __syncthreads();
    if (mask.t == 0) return;
    for (uint32_t i = threadIdx.x; i < ROWS * ROWS / 4; i += PLAIN_THREADS) {
      uint32_t q = i / (ROWS / 4), k = i % (ROWS / 4) * 4, keep = 0;
      if (mask.aligned()) {
        keep = mask.four(mask.index(query + q, key + k));
      } else {
        for (uint32_t n = 0; n < 4; n++) keep |= static_cast<uint32_t>(mask.one(query + q, key + k + n)) << n;
      }
      for (uint32_t n = 0; n < 4; n++) {
        float& weight = weights[q * per_query + (k + n) * per_key];
        weight = keep >> n & 1 ? weight * mask.keep_scale() : 0;
      }
    }
    __syncthreads();
  }
};

// Scores become exponentials, and what was summed before is scaled to the new largest score.
template <int R, int C, class P>
__device__ void plain_soften(float (&s)[R][R], float (&out)[R][C * 4], float (&top)[R], float (&total)[R],
                             const Shape& shape, uint32_t query, uint32_t key) {
#pragma unroll
  for (int i = 0; i < R; i++) {
    float best = -INFINITY;
#pragma unroll
    for (int j = 0; j < R; j++) {
      bool seen = shape.sees(query + P::y() + SIDE * i, key + P::x() + SIDE * j);
      s[i][j] = seen ? s[i][j] * shape.scale : -INFINITY;
      best = fmaxf(best, s[i][j]);
    }
    best = fmaxf(top[i], P::row_max(best));
    float base = best == -INFINITY ? 0 : best, shrink = expf(top[i] - base);
    top[i] = best;
    total[i] *= shrink;
#pragma unroll
    for (int j = 0; j < R; j++) {
      s[i][j] = expf(s[i][j] - base);
      total[i] += s[i][j];
    }
#pragma unroll
    for (int c = 0; c < C * 4; c++) out[i][c] *= shrink;
  }
}

// Where a block of a grid of ⌈T/rows⌉ blocks a head works.
struct Work {
  uint32_t first, pair, sequence, head, key_head;
};
__device__ inline Work work_of(const Shape& shape, uint32_t rows) {
  uint32_t n_tiles = (shape.t + rows - 1) / rows, pair = blockIdx.x / n_tiles, head = pair % shape.heads;
  uint32_t first = (n_tiles - 1 - blockIdx.x % n_tiles) * rows;
  return {first, pair, pair / shape.heads, head, shape.heads + head / shape.shared_by()};
}

// A mask of no tokens where nothing is dropped.
__device__ inline Mask<true> plain_mask(const Shape& shape, const Dropout& dropout, uint32_t sequence,
                                        uint32_t head) {
  if (!dropout.lanes) return {};
  return mask_of<true>(shape, dropout, sequence, head);
}

template <class T, int R, int C>
__device__ void plain_forward(const T* qkv, T* y, float* lse, Shape shape, Dropout dropout) {
  using P = Plain<T, R, C>;
  DYNAMIC_SHARED(float, queries);
  float *keys = queries + P::ROWS * pitch_of(shape.dim), *values = keys + P::ROWS * pitch_of(shape.dim);
  float* weights = values + P::ROWS * pitch_of(shape.dim);
  Work at = work_of(shape, P::ROWS);
  Mask<true> mask = plain_mask(shape, dropout, at.sequence, at.head);
  P::load(queries, rows_of(qkv, shape, at.sequence, at.head), at.first);
  typename P::Sums out;
  float top[R], total[R];
  P::clear(out);
#pragma unroll
  for (int i = 0; i < R; i++) top[i] = -INFINITY, total[i] = 0;
  uint32_t end = at.first + P::ROWS < shape.t ? at.first + P::ROWS : shape.t;
  for (uint32_t key = shape.first_seen(at.first) / P::ROWS * P::ROWS; key < end; key += P::ROWS) {
    // Nobody reads the tile before any more.
    __syncthreads();
    P::load(keys, rows_of(qkv, shape, at.sequence, at.key_head), key);
    P::load(values, rows_of(qkv, shape, at.sequence, at.key_head + shape.kv_heads), key);
    __syncthreads();
    typename P::Scores s;
    P::dots(s, queries, keys, shape.dim);
    plain_soften<R, C, P>(s, out, top, total, shape, at.first, key);
    P::put(weights, s);
    P::drop(weights, mask, at.first, key, P::WEIGHTS, 1);
    P::blend(out, weights, values, shape.dim);
  }
#pragma unroll
  for (int i = 0; i < R; i++) {
    float sum = P::row_sum(total[i]);
    uint32_t row = at.first + P::y() + SIDE * i;
    if (lse && P::x() == 0 && row < shape.t) lse[static_cast<size_t>(at.pair) * shape.t + row] = top[i] + logf(sum);
    P::store(outputs_of(y, shape, at.sequence, at.head), at.first, i, out, sum > 0 ? 1 / sum : 0, false);
  }
}

// dQ and δ of a block's queries.
template <class T, int R, int C>
__device__ void plain_backward_queries(const T* qkv, const T* y, const T* dy, const float* lse, float* delta,
                                       Gradient<T> out, Shape shape, Dropout dropout) {
  using P = Plain<T, R, C>;
  DYNAMIC_SHARED(float, queries);
  uint32_t tile = P::ROWS * pitch_of(shape.dim);
  float *dys = queries + tile, *keys = dys + tile, *values = keys + tile, *weights = values + tile;
  Work at = work_of(shape, P::ROWS);
  Mask<true> mask = plain_mask(shape, dropout, at.sequence, at.head);
  P::load(queries, rows_of(qkv, shape, at.sequence, at.head), at.first);
  P::load(dys, outputs_of(dy, shape, at.sequence, at.head), at.first);
  __syncthreads();
  Row rows[R];
#pragma unroll
  for (int i = 0; i < R; i++) {
    uint32_t row = P::y() + SIDE * i, query = at.first + row;
    size_t index = static_cast<size_t>(at.pair) * shape.t + query;
    auto its = outputs_of(y, shape, at.sequence, at.head);
    float sum = 0;
    for (uint32_t col = P::x(); col < shape.dim && query < shape.t; col += SIDE)
      sum = fmaf(to_f32(its.at[query * its.row + col]), dys[row * pitch_of(shape.dim) + col], sum);
    sum = P::row_sum(sum);
    rows[i] = {query < shape.t ? lse[index] : INFINITY, sum};
    if (query < shape.t && P::x() == 0) delta[index] = sum;
  }
  typename P::Sums dq;
  P::clear(dq);
  uint32_t end = at.first + P::ROWS < shape.t ? at.first + P::ROWS : shape.t;
  for (uint32_t key = shape.first_seen(at.first) / P::ROWS * P::ROWS; key < end; key += P::ROWS) {
    __syncthreads();
    P::load(keys, rows_of(qkv, shape, at.sequence, at.key_head), key);
    P::load(values, rows_of(qkv, shape, at.sequence, at.key_head + shape.kv_heads), key);
    __syncthreads();
    typename P::Scores p, dp, kept;
    P::dots(p, queries, keys, shape.dim);
    P::dots(dp, dys, values, shape.dim);
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) {
        bool seen = shape.sees(at.first + P::y() + SIDE * i, key + P::x() + SIDE * j);
        p[i][j] = seen ? expf(fmaf(p[i][j], shape.scale, -rows[i].lse)) : 0;
      }
    P::put(weights, p);
    P::drop(weights, mask, at.first, key, P::WEIGHTS, 1);
    P::get(weights, kept);
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) dp[i][j] = kept[i][j] * dp[i][j] - p[i][j] * rows[i].delta;
    P::put(weights, dp);
    __syncthreads();
    P::blend(dq, weights, keys, shape.dim);
  }
#pragma unroll
  for (int i = 0; i < R; i++)
    P::store(rows_of(out.dqkv, shape, at.sequence, at.head), at.first, i, dq, shape.scale, out.add);
}

// A tile of one head's queries goes into its keys' dK and dV; rows of scores are keys, columns queries.
template <class P, int R>
__device__ void plain_keys_block(typename P::Sums& dk, typename P::Sums& dv, float* const (&tiles)[5],
                                 const float* lse, const float* delta, const Shape& shape, const Mask<true>& mask,
                                 uint32_t query, uint32_t key) {
  auto [keys, values, queries, dys, weights] = tiles;
  typename P::Scores p, dp, kept;
  P::dots(p, keys, queries, shape.dim);
  P::dots(dp, values, dys, shape.dim);
#pragma unroll
  for (int j = 0; j < R; j++) {
    uint32_t its = query + P::x() + SIDE * j;
    float its_lse = its < shape.t ? lse[its] : INFINITY;
#pragma unroll
    for (int i = 0; i < R; i++) {
      bool seen = shape.sees(its, key + P::y() + SIDE * i);
      p[i][j] = seen ? expf(fmaf(p[i][j], shape.scale, -its_lse)) : 0;
    }
  }
  P::put(weights, p);
  P::drop(weights, mask, query, key, 1, P::WEIGHTS);
  P::get(weights, kept);
  P::blend(dv, weights, dys, shape.dim);
#pragma unroll
  for (int j = 0; j < R; j++) {
    uint32_t its = query + P::x() + SIDE * j;
    float its_delta = its < shape.t ? delta[its] : 0;
#pragma unroll
    for (int i = 0; i < R; i++) dp[i][j] = kept[i][j] * dp[i][j] - p[i][j] * its_delta;
  }
  __syncthreads();
  P::put(weights, dp);
  __syncthreads();
  P::blend(dk, weights, queries, shape.dim);
}

// dK and dV of a block's keys, over the queries of each head that shares them.
template <class T, int R, int C>
__device__ void plain_backward_keys(const T* qkv, const T* dy, const float* lse, const float* delta, Gradient<T> out,
                                    Shape shape, Dropout dropout) {
  using P = Plain<T, R, C>;
  DYNAMIC_SHARED(float, keys);
  uint32_t tile = P::ROWS * pitch_of(shape.dim);
  float* const tiles[5] = {keys, keys + tile, keys + 2 * tile, keys + 3 * tile, keys + 4 * tile};
  uint32_t n_tiles = (shape.t + P::ROWS - 1) / P::ROWS, pair = blockIdx.x / n_tiles;
  uint32_t first = blockIdx.x % n_tiles * P::ROWS;
  uint32_t sequence = pair / shape.kv_heads, key_head = pair % shape.kv_heads;
  uint32_t k_head = shape.heads + key_head, v_head = k_head + shape.kv_heads;
  P::load(tiles[0], rows_of(qkv, shape, sequence, k_head), first);
  P::load(tiles[1], rows_of(qkv, shape, sequence, v_head), first);
  typename P::Sums dk, dv;
  P::clear(dk);
  P::clear(dv);
  uint32_t last = first + P::ROWS < shape.t ? first + P::ROWS - 1 : shape.t - 1;
  for (uint32_t i = 0; i < shape.shared_by(); i++) {
    uint32_t head = key_head * shape.shared_by() + i;
    size_t at = (static_cast<size_t>(sequence) * shape.heads + head) * shape.t;
    Mask<true> mask = plain_mask(shape, dropout, sequence, head);
    for (uint32_t query = first; query <= shape.last_seeing(last); query += P::ROWS) {
      __syncthreads();
      P::load(tiles[2], rows_of(qkv, shape, sequence, head), query);
      P::load(tiles[3], outputs_of(dy, shape, sequence, head), query);
      __syncthreads();
      plain_keys_block<P, R>(dk, dv, tiles, lse + at, delta + at, shape, mask, query, first);
    }
  }
#pragma unroll
  for (int i = 0; i < R; i++) {
    P::store(rows_of(out.dqkv, shape, sequence, k_head), first, i, dk, shape.scale, out.add);
    P::store(rows_of(out.dqkv, shape, sequence, v_head), first, i, dv, 1, out.add);
  }
}

}  // namespace attention

// As the tensor cores' kernels are called, with and without dropout. Grids of blocks of 16·R rows; shared
// memory for three tiles of them forward, four backward, and a matrix of scores. bf16 comes here with
// odd heads alone, which share one size.
KERNEL(attention_plain_forward_d64_f32, 256,
       (const float* qkv, float* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_forward<float, 4, 1>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_queries_d64_f32, 256,
       (const float* qkv, const float* y, const float* dy, const float* lse, float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_queries<float, 4, 1>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                 {t, heads, kv_heads, dim, window, scale},
                                                 {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_keys_d64_f32, 256,
       (const float* qkv, const float* dy, const float* lse, const float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_keys<float, 4, 1>(qkv, dy, lse, delta, {dqkv, add != 0},
                                              {t, heads, kv_heads, dim, window, scale},
                                              {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_forward_d128_f32, 256,
       (const float* qkv, float* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_forward<float, 4, 2>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_queries_d128_f32, 256,
       (const float* qkv, const float* y, const float* dy, const float* lse, float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_queries<float, 4, 2>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                 {t, heads, kv_heads, dim, window, scale},
                                                 {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_keys_d128_f32, 256,
       (const float* qkv, const float* dy, const float* lse, const float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_keys<float, 4, 2>(qkv, dy, lse, delta, {dqkv, add != 0},
                                              {t, heads, kv_heads, dim, window, scale},
                                              {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_forward_d256_f32, 256,
       (const float* qkv, float* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_forward<float, 2, 4>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_queries_d256_f32, 256,
       (const float* qkv, const float* y, const float* dy, const float* lse, float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_queries<float, 2, 4>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                 {t, heads, kv_heads, dim, window, scale},
                                                 {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_keys_d256_f32, 256,
       (const float* qkv, const float* dy, const float* lse, const float* delta, float* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_keys<float, 2, 4>(qkv, dy, lse, delta, {dqkv, add != 0},
                                              {t, heads, kv_heads, dim, window, scale},
                                              {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_forward_d256_bf16, 256,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_forward<bf16, 2, 4>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                       {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_queries_d256_bf16, 256,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_queries<bf16, 2, 4>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                {t, heads, kv_heads, dim, window, scale},
                                                {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_plain_backward_keys_d256_bf16, 256,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::plain_backward_keys<bf16, 2, 4>(qkv, dy, lse, delta, {dqkv, add != 0},
                                             {t, heads, kv_heads, dim, window, scale},
                                             {lanes, per_lane, first_sequence, site});
}
