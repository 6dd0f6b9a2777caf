// Attention backward on the tensor cores, by the formulas of `backward_block` in `attention.rs`: with P the
// weights after softmax, W what dropout left of them and δ = Σ dy·y by row,
// dV = Wᵀ·dy, dS = W∘(dy·Vᵀ) − P·δ, dQ = dS·K, dK = dSᵀ·Q.
//
// Two kernels, each of which owns what it sums, so that the sums have one order and need no atomics: one
// goes over keys for a block of queries (three products), one over queries for a block of keys (four).
// FlashAttention-2 (Dao 2023) computes scores once, which makes five, and adds dQ from all blocks of keys.
// In a fixed order that would be f32 partial sums, written and read again: 8·T·D bytes for each of the
// T/128 blocks of keys, half of which a causal query sees: T²·D/32 bytes a head. The two products more are
// 2·T²·D FLOPs, 64 for each of these bytes: less time on any device whose tensor cores do more than 64
// FLOPs in the time of a byte of memory.
#include "attention.cuh"

namespace attention {

template <int N, int M> __device__ __forceinline__ void clear(float (&sums)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) sums[m][n][c] = 0;
}

template <int N, int M> __device__ __forceinline__ void times(float (&sums)[M][N][4], float factor) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) sums[m][n][c] *= factor;
}

// δ of a query, which four threads of a warp compute together.
template <int D>
__device__ __forceinline__ float delta_of(const Rows<const bf16>& y, const bf16* dy_tile, uint32_t query,
                                          uint32_t row) {
  float sum = 0;
  for (uint32_t piece = threadIdx.x % 4; piece < PIECES<D>; piece += 4) {
    if (query >= y.end || piece * 8 >= y.dim) continue;
    auto a = *reinterpret_cast<const Pack<bf16, 8>*>(y.at + query * y.row + piece * 8);
    auto b = *reinterpret_cast<const Pack<bf16, 8>*>(dy_tile + place<D>(row, piece));
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(to_f32(a.at[i]), to_f32(b.at[i]), sum);
  }
  sum += __shfl_xor_sync(ALL_LANES, sum, 1);
  return sum + __shfl_xor_sync(ALL_LANES, sum, 2);
}

// Scores and dy·Vᵀ of 8·N keys become dS, in the place of the scores. `edge`: not everyone sees everyone.
template <bool DROPS, int M, int N>
__device__ __forceinline__ void scores_back(float (&s)[M][N][4], const float (&dp)[M][N][4],
                                            const Row (&rows)[M][2], const Shape& shape, const Mask<DROPS>& mask,
                                            uint32_t query, uint32_t key, bool edge) {
  uint32_t lane = threadIdx.x % WARP;
  float scale2 = shape.scale * LOG2_E, keep_scale = mask.keep_scale();
#pragma unroll
  for (int m = 0; m < M; m++) {
    uint32_t keep = ~0u;
    if constexpr (DROPS) keep = keep_by_query<N>(mask, query + m * 16, key);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) {
        Row row = rows[m][c / 2];
        float p = exp2_fast(fmaf(s[m][n][c], scale2, -row.lse));
        uint32_t q = query + m * 16 + c / 2 * 8 + lane / 4, k = key + n * 8 + lane % 4 * 2 + c % 2;
        if (edge && !shape.sees(q, k)) p = 0;
        float kept = keep >> (4 * n + c) & 1 ? dp[m][n][c] * keep_scale : 0;
        s[m][n][c] = p * (kept - row.delta);
      }
  }
}

// dQ of 16·M·WARPS queries, and their δ: over tiles of keys, in strips of 8·N of them.
template <int D, int M, int KEYS, int N, bool HELD, bool DROPS>
__device__ void backward_queries(const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta,
                                 Gradient<bf16> out, Shape shape, Dropout dropout) {
  constexpr int QUERIES = 16 * M * WARPS, THREADS = WARP * WARPS;
  DYNAMIC_SHARED(bf16, q_tile);               // (QUERIES, D)
  bf16* const dy_tile = q_tile + QUERIES * D;  // (QUERIES, D)
  bf16* const tiles = dy_tile + QUERIES * D;   // two of (keys, values), each (KEYS, D)
  uint32_t n_tiles = (shape.t + QUERIES - 1) / QUERIES, pair = blockIdx.x / n_tiles;
  uint32_t first = (n_tiles - 1 - blockIdx.x % n_tiles) * QUERIES;
  uint32_t sequence = pair / shape.heads, head = pair % shape.heads;
  uint32_t key_head = shape.heads + head / shape.shared_by();
  Rows<const bf16> k = rows_of(qkv, shape, sequence, key_head),
                   v = rows_of(qkv, shape, sequence, key_head + shape.kv_heads);
  uint32_t from = shape.first_seen(first) / KEYS * KEYS;
  uint32_t end = first + QUERIES < shape.t ? first + QUERIES : shape.t;
  load_tile<D, QUERIES, THREADS>(q_tile, rows_of(qkv, shape, sequence, head), first);
  load_tile<D, QUERIES, THREADS>(dy_tile, outputs_of(dy, shape, sequence, head), first);
  load_tile<D, KEYS, THREADS>(tiles, k, from);
  load_tile<D, KEYS, THREADS>(tiles + KEYS * D, v, from);
  cp_async_commit();

  Mask<DROPS> mask = mask_of<DROPS>(shape, dropout, sequence, head);
  uint32_t lane = threadIdx.x % WARP, warp_row = threadIdx.x / WARP * 16 * M, query = first + warp_row;
  Left<D, M, HELD> q(q_tile, warp_row), dys(dy_tile, warp_row);
  Row rows[M][2];
  float dq[M][D / 8][4];
  clear(dq);
  for (uint32_t tile_key = from, turn = 0; tile_key < end; tile_key += KEYS, turn ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    if (tile_key == from) {
      q.begin();
      dys.begin();
#pragma unroll
      for (int i = 0; i < 2 * M; i++) {
        uint32_t row = warp_row + i * 8 + lane / 4, its = first + row;
        size_t at = static_cast<size_t>(pair) * shape.t + its;
        float sum = delta_of<D>(outputs_of(y, shape, sequence, head), dy_tile, its, row);
        bool there = its < shape.t;
        if (there && lane % 4 == 0) delta[at] = sum;
        rows[i / 2][i % 2] = {there ? lse[at] * LOG2_E : INFINITY, sum};
      }
    }
    if (tile_key + KEYS < end) {
      bf16* next = tiles + (turn ^ 1) * 2 * KEYS * D;
      load_tile<D, KEYS, THREADS>(next, k, tile_key + KEYS);
      load_tile<D, KEYS, THREADS>(next + KEYS * D, v, tile_key + KEYS);
      cp_async_commit();
    }
    const bf16* tile = tiles + turn * 2 * KEYS * D;
    uint32_t last = query + 16 * M - 1;
#pragma unroll 1
    for (uint32_t at = 0; at < KEYS; at += 8 * N) {
      uint32_t key = tile_key + at;
      if (key > last || key + 8 * N <= shape.first_seen(query) || query >= shape.t) continue;
      float s[M][N][4], dp[M][N][4];
      dots<D, M, N, HELD>(s, q, tile, at);
      dots<D, M, N, HELD>(dp, dys, tile + KEYS * D, at);
      bool edge = key + 8 * N - 1 > query || key < shape.first_seen(last);
      scores_back<DROPS, M, N>(s, dp, rows, shape, mask, query, key, edge);
      blend<D, M, N>(dq, s, tile, at);
    }
  }
  times(dq, shape.scale);
  __syncwarp();
#pragma unroll
  for (int m = 0; m < M; m++) {
    store_rows<D>(rows_of(out.dqkv, shape, sequence, head), query + m * 16, dq[m], q_tile + (warp_row + m * 16) * D,
                  out.add);
  }
}

// Scores and dy·Vᵀ, both transposed, of 8·N queries become Wᵀ but for dropout's scale, and dSᵀ.
template <bool DROPS, int M, int N>
__device__ __forceinline__ void scores_back_transposed(float (&s)[M][N][4], float (&dp)[M][N][4], const Row* rows,
                                                       const Shape& shape, const Mask<DROPS>& mask, uint32_t key,
                                                       uint32_t query, bool edge) {
  uint32_t lane = threadIdx.x % WARP;
  float scale2 = shape.scale * LOG2_E, keep_scale = mask.keep_scale();
#pragma unroll
  for (int m = 0; m < M; m++) {
    uint32_t keep = ~0u;
    if constexpr (DROPS) keep = keep_by_key<N>(mask, key + m * 16, query);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) {
        uint32_t col = n * 8 + lane % 4 * 2 + c % 2;
        Row row = rows[col];
        float p = exp2_fast(fmaf(s[m][n][c], scale2, -row.lse));
        if (edge && !shape.sees(query + col, key + m * 16 + c / 2 * 8 + lane / 4)) p = 0;
        bool stays = keep >> (4 * n + c) & 1;
        dp[m][n][c] = p * ((stays ? dp[m][n][c] * keep_scale : 0) - row.delta);
        s[m][n][c] = stays ? p : 0;
      }
  }
}

// dK and dV of 16·M·WARPS keys: over tiles of queries, in strips of 8·N, of each head that shares the keys.
// Scores are computed transposed, so that weights and dS leave one product in the registers in which
// they enter the next.
template <int D, int M, int QUERIES, int N, bool HELD, bool DROPS>
__device__ void backward_keys(const bf16* qkv, const bf16* dy, const float* lse, const float* delta, Gradient<bf16> out,
                              Shape shape, Dropout dropout) {
  constexpr int KEYS = 16 * M * WARPS, THREADS = WARP * WARPS;
  static_assert(QUERIES <= THREADS, "a thread for each row's numbers");
  DYNAMIC_SHARED(bf16, k_tile);               // (KEYS, D)
  bf16* const v_tile = k_tile + KEYS * D;      // (KEYS, D)
  bf16* const tiles = v_tile + KEYS * D;       // two of (queries, dy), each (QUERIES, D)
  Row* const rows = reinterpret_cast<Row*>(tiles + 4 * QUERIES * D);  // two of (QUERIES)
  // The first keys are seen by the most queries, and come first.
  uint32_t n_tiles = (shape.t + KEYS - 1) / KEYS, pair = blockIdx.x / n_tiles;
  uint32_t first = blockIdx.x % n_tiles * KEYS;
  uint32_t sequence = pair / shape.kv_heads, key_head = pair % shape.kv_heads;
  uint32_t k_head = shape.heads + key_head, v_head = k_head + shape.kv_heads;
  load_tile<D, KEYS, THREADS>(k_tile, rows_of(qkv, shape, sequence, k_head), first);
  load_tile<D, KEYS, THREADS>(v_tile, rows_of(qkv, shape, sequence, v_head), first);

  // Tiles of queries from one that begins at `from` to one that begins at `to`, of each head.
  uint32_t last_key = first + KEYS < shape.t ? first + KEYS - 1 : shape.t - 1;
  uint32_t from = first / QUERIES * QUERIES, to = shape.last_seeing(last_key) / QUERIES * QUERIES;
  uint32_t head = key_head * shape.shared_by(), end_head = head + shape.shared_by();
  auto load = [&](uint32_t head, uint32_t query, uint32_t turn) {
    bf16* tile = tiles + turn * 2 * QUERIES * D;
    load_tile<D, QUERIES, THREADS>(tile, rows_of(qkv, shape, sequence, head), query);
    load_tile<D, QUERIES, THREADS>(tile + QUERIES * D, outputs_of(dy, shape, sequence, head), query);
    cp_async_commit();
    query += threadIdx.x;
    if (threadIdx.x >= QUERIES || query >= shape.t) return Row{INFINITY, 0};
    size_t at = (static_cast<size_t>(sequence) * shape.heads + head) * shape.t + query;
    return Row{lse[at] * LOG2_E, delta[at]};
  };
  Row row = load(head, from, 0);
  if (threadIdx.x < QUERIES) rows[threadIdx.x] = row;

  uint32_t warp_row = threadIdx.x / WARP * 16 * M, key = first + warp_row, last = key + 16 * M - 1;
  Left<D, M, HELD> k(k_tile, warp_row), v(v_tile, warp_row);
  float dk[M][D / 8][4], dv[M][D / 8][4];
  clear(dk);
  clear(dv);
  Mask<DROPS> mask = mask_of<DROPS>(shape, dropout, sequence, head);
  for (uint32_t tile_query = from, turn = 0; head < end_head; turn ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    if (HELD && head == key_head * shape.shared_by() && tile_query == from) {
      k.begin();
      v.begin();
    }
    uint32_t next_query = tile_query == to ? from : tile_query + QUERIES, next_head = head + (tile_query == to);
    // The next tile's numbers travel while this one is worked on, and go to shared memory afterwards.
    if (next_head < end_head) row = load(next_head, next_query, turn ^ 1);
    const bf16* tile = tiles + turn * 2 * QUERIES * D;
#pragma unroll 1
    for (uint32_t at = 0; at < QUERIES; at += 8 * N) {
      uint32_t query = tile_query + at, last_query = query + 8 * N - 1;
      if (last_query < key || query >= shape.t || query >= last + shape.window || key >= shape.t) continue;
      float s[M][N][4], dp[M][N][4];
      dots<D, M, N, HELD>(s, k, tile, at);
      dots<D, M, N, HELD>(dp, v, tile + QUERIES * D, at);
      bool edge = query < last || last_query >= key + shape.window;
      scores_back_transposed<DROPS, M, N>(s, dp, rows + turn * QUERIES + at, shape, mask, key, query, edge);
      blend<D, M, N>(dv, s, tile + QUERIES * D, at);
      blend<D, M, N>(dk, dp, tile, at);
    }
    if (threadIdx.x < QUERIES) rows[(turn ^ 1) * QUERIES + threadIdx.x] = row;
    if (DROPS && next_head > head && next_head < end_head) mask = mask_of<DROPS>(shape, dropout, sequence, next_head);
    tile_query = next_query;
    head = next_head;
  }
  times(dk, shape.scale);
  times(dv, mask.keep_scale());
  __syncwarp();
#pragma unroll
  for (int m = 0; m < M; m++) {
    uint32_t stage = (warp_row + m * 16) * D;
    store_rows<D>(rows_of(out.dqkv, shape, sequence, k_head), key + m * 16, dk[m], k_tile + stage, out.add);
    store_rows<D>(rows_of(out.dqkv, shape, sequence, v_head), key + m * 16, dv[m], v_tile + stage, out.add);
  }
}

}  // namespace attention

// From y, dy (K, B·T, H·D), lse (K·B, H, T) and qkv: the queries' columns of dqkv, and delta (K·B, H, T). A
// grid of K·B·H·⌈T/(64·M)⌉ blocks; shared memory for 128·M + 4·KEYS rows. 100, 244 and 246 registers: 4, 2
// and 2 blocks a multiprocessor.
KERNEL(attention_backward_queries_d32_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<32, 1, 64, 2, true, false>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                         {t, heads, kv_heads, dim, window, scale},
                                                         {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_queries_d64_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<64, 2, 64, 2, true, false>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                         {t, heads, kv_heads, dim, window, scale},
                                                         {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_queries_d128_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<128, 1, 64, 2, true, false>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                          {t, heads, kv_heads, dim, window, scale},
                                                          {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_queries_dropout_d32_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<32, 1, 64, 2, true, true>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                        {t, heads, kv_heads, dim, window, scale},
                                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_queries_dropout_d64_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<64, 2, 64, 2, true, true>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                        {t, heads, kv_heads, dim, window, scale},
                                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_queries_dropout_d128_bf16, 128,
       (const bf16* qkv, const bf16* y, const bf16* dy, const float* lse, float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_queries<128, 1, 64, 2, true, true>(qkv, y, dy, lse, delta, {dqkv, add != 0},
                                                         {t, heads, kv_heads, dim, window, scale},
                                                         {lanes, per_lane, first_sequence, site});
}

// And the keys' and values' columns, after that. A grid of K·B·G·⌈T/(64·M)⌉ blocks; shared memory for
// 128·M + 4·QUERIES rows and 2·QUERIES pairs of numbers. 123, 166 and 247 registers: 4, 3 and 2 blocks.
KERNEL(attention_backward_keys_d32_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<32, 1, 64, 2, true, false>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                      {t, heads, kv_heads, dim, window, scale},
                                                      {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_keys_d64_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<64, 1, 64, 2, true, false>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                      {t, heads, kv_heads, dim, window, scale},
                                                      {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_keys_d128_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<128, 1, 64, 2, false, false>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                        {t, heads, kv_heads, dim, window, scale},
                                                        {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_keys_dropout_d32_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<32, 1, 64, 2, true, true>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                     {t, heads, kv_heads, dim, window, scale},
                                                     {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_keys_dropout_d64_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<64, 1, 64, 2, true, true>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                     {t, heads, kv_heads, dim, window, scale},
                                                     {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_backward_keys_dropout_d128_bf16, 128,
       (const bf16* qkv, const bf16* dy, const float* lse, const float* delta, bf16* dqkv, uint32_t add,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::backward_keys<128, 1, 64, 2, false, true>(qkv, dy, lse, delta, {dqkv, add != 0},
                                                       {t, heads, kv_heads, dim, window, scale},
                                                       {lanes, per_lane, first_sequence, site});
}
