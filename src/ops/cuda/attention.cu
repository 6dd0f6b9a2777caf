// Attention forward on the tensor cores: bf16 heads of up to 128, no T×T in memory.
//
// FlashAttention-2 (Dao 2023): a block has one head's queries, a warp some rows of them. Keys and values
// go by in tiles; scores, exponentials and the weighted sum stay in registers, and a later, larger score
// scales down what was summed before. Heads between sizes are padded with zeros in shared memory alone.
//
// A warp's product of 16·M rows reads each right factor from shared memory once: 256/M bytes for a
// multiply-add of 16×8×16, and a multiprocessor reads 128 bytes a clock. M = 2 halves these reads, and two
// blocks of four warps still fit a multiprocessor; heads of 32, for which the exponentials are more work
// than the products, get M = 1 and more warps instead. 128 queries share a tile of 64 keys, so that the
// second-level cache gives 4·64·D bytes for 128·64·D·4 FLOPs: 128 FLOPs a byte.
#include "attention.cuh"

namespace attention {

// What a warp knows of its 16·M queries after some of the keys.
template <int D, int M> struct Rolling {
  float out[M][D / 8][4];  // Σ exp(score − top)·value
  float top[M][2];         // largest score so far
  float total[M][2];       // Σ exp(score − top), of this thread's columns alone

  __device__ __forceinline__ void init() {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int c = 0; c < 4; c++) out[m][n][c] = 0;
#pragma unroll
      for (int half = 0; half < 2; half++) top[m][half] = -INFINITY, total[m][half] = 0;
    }
  }
};

// The largest and the sum over the four threads that share a row.
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(ALL_LANES, x, 1);
  return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// Makes scores that nobody may see −∞; the warp's queries begin at `query`, the keys at `key`.
template <int M, int N>
__device__ __forceinline__ void hide(float (&s)[M][N][4], const Shape& shape, uint32_t query, uint32_t key) {
  uint32_t lane = threadIdx.x % WARP;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) {
        uint32_t q = query + m * 16 + c / 2 * 8 + lane / 4, k = key + n * 8 + lane % 4 * 2 + c % 2;
        if (!shape.sees(q, k)) s[m][n][c] = -INFINITY;
      }
}

// Scores become exponentials, and what was summed before is scaled to the new largest score.
template <int D, int M, int N>
__device__ __forceinline__ void soften(Rolling<D, M>& sums, float (&s)[M][N][4], float scale) {
  float scale2 = scale * LOG2_E;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = sums.top[m][half];
      float best = s[m][0][2 * half];
#pragma unroll
      for (int n = 0; n < N; n++) best = fmaxf(best, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      best = fmaxf(top, row_max(best));
      // A row that sees none of the keys so far has −∞ for its largest.
      float base = best == -INFINITY ? 0 : best * scale2;
      float shrink = exp2_fast(fmaf(top, scale2, -base));
      float total = sums.total[m][half] * shrink;
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int c = 2 * half; c < 2 * half + 2; c++) {
          s[m][n][c] = exp2_fast(fmaf(s[m][n][c], scale2, -base));
          total += s[m][n][c];
        }
      sums.top[m][half] = best;
      sums.total[m][half] = total;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        sums.out[m][n][2 * half] *= shrink;
        sums.out[m][n][2 * half + 1] *= shrink;
      }
    }
}

// Zeros the weights that dropout drops; their scale is for the end.
template <int M, int N>
__device__ __forceinline__ void drop(float (&w)[M][N][4], const Mask<true>& mask, uint32_t query, uint32_t key) {
#pragma unroll
  for (int m = 0; m < M; m++) {
    uint32_t keep = keep_by_query<N>(mask, query + m * 16, key);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++)
        if (!(keep >> (4 * n + c) & 1)) w[m][n][c] = 0;
  }
}

// Divides by the totals, and stores rows of y and log-sum-exps.
template <int D, int M>
__device__ __forceinline__ void finish(Rolling<D, M>& sums, const Rows<bf16>& y, float* lse, float scale,
                                       float keep_scale, uint32_t query, bf16* stage) {
  uint32_t lane = threadIdx.x % WARP;
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = row_sum(sums.total[m][half]);
      // Rows past the last may see nothing.
      float factor = total > 0 ? keep_scale / total : 0;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        sums.out[m][n][2 * half] *= factor;
        sums.out[m][n][2 * half + 1] *= factor;
      }
      uint32_t row = query + m * 16 + half * 8 + lane / 4;
      if (lse && lane % 4 == 0 && row < y.end) lse[row] = fmaf(sums.top[m][half], scale, logf(total));
    }
    store_rows<D>(y, query + m * 16, sums.out[m], stage + m * 16 * D, false);
  }
}

template <int D, int M, int KEYS, bool HELD, bool DROPS>
__device__ void forward(const bf16* qkv, bf16* y, float* lse, Shape shape, Dropout dropout) {
  constexpr int QUERIES = 16 * M * WARPS, THREADS = WARP * WARPS, N = KEYS / 8;
  DYNAMIC_SHARED(bf16, queries);            // (QUERIES, D)
  bf16* const tiles = queries + QUERIES * D;  // two of (keys, values), each (KEYS, D)
  // A head's blocks follow each other, so that they find its keys in the cache; the longest come first.
  uint32_t n_tiles = (shape.t + QUERIES - 1) / QUERIES, pair = blockIdx.x / n_tiles;
  uint32_t first = (n_tiles - 1 - blockIdx.x % n_tiles) * QUERIES;
  uint32_t sequence = pair / shape.heads, head = pair % shape.heads;
  uint32_t key_head = shape.heads + head / shape.shared_by();
  Rows<const bf16> q = rows_of(qkv, shape, sequence, head), k = rows_of(qkv, shape, sequence, key_head),
                   v = rows_of(qkv, shape, sequence, key_head + shape.kv_heads);
  Mask<DROPS> mask = mask_of<DROPS>(shape, dropout, sequence, head);
  uint32_t from = shape.first_seen(first) / KEYS * KEYS;
  uint32_t end = first + QUERIES < shape.t ? first + QUERIES : shape.t;

  load_tile<D, QUERIES, THREADS>(queries, q, first);
  load_tile<D, KEYS, THREADS>(tiles, k, from);
  load_tile<D, KEYS, THREADS>(tiles + KEYS * D, v, from);
  cp_async_commit();

  uint32_t warp_row = threadIdx.x / WARP * 16 * M, query = first + warp_row;
  Left<D, M, HELD> left(queries, warp_row);
  Rolling<D, M> sums;
  sums.init();
  for (uint32_t key = from, turn = 0; key < end; key += KEYS, turn ^= 1) {
    // This tile is there, and everyone is done with the one before, whose place the next one takes.
    cp_async_wait<0>();
    __syncthreads();
    if (key == from) left.begin();
    if (key + KEYS < end) {
      bf16* next = tiles + (turn ^ 1) * 2 * KEYS * D;
      load_tile<D, KEYS, THREADS>(next, k, key + KEYS);
      load_tile<D, KEYS, THREADS>(next + KEYS * D, v, key + KEYS);
      cp_async_commit();
    }
    uint32_t last = query + 16 * M - 1;
    if (key > last || key + KEYS <= shape.first_seen(query) || query >= shape.t) continue;
    const bf16* tile = tiles + turn * 2 * KEYS * D;
    float s[M][N][4];
    dots<D, M, N, HELD>(s, left, tile, 0);
    if (key + KEYS - 1 > query || key < shape.first_seen(last)) hide<M, N>(s, shape, query, key);
    soften<D, M, N>(sums, s, shape.scale);
    if constexpr (DROPS) drop<M, N>(s, mask, query, key);
    blend<D, M, N>(sums.out, s, tile + KEYS * D, 0);
  }
  // The queries' rows are this warp's alone, and read no more.
  __syncwarp();
  float* its_lse = lse ? lse + static_cast<size_t>(pair) * shape.t : nullptr;
  finish<D, M>(sums, outputs_of(y, shape, sequence, head), its_lse, shape.scale, mask.keep_scale(), query,
               queries + warp_row * D);
}

}  // namespace attention

// qkv (K, B·T, (H+2G)·D) → y (K, B·T, H·D) and lse (K·B, H, T), unless that is null. A grid of
// K·B·H·⌈T/(64·M)⌉ blocks; shared memory for 64·M + 4·KEYS rows. By nvcc 13.0 for sm_90: 97, 255 and 248
// registers, with which 4, 2 and 2 blocks fit a multiprocessor; nothing spills.
KERNEL(attention_forward_d32_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<32, 1, 64, true, false>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                             {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_forward_d64_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<64, 2, 64, true, false>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                             {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_forward_d128_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<128, 2, 32, false, false>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                               {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_forward_dropout_d32_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<32, 1, 64, true, true>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                            {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_forward_dropout_d64_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<64, 2, 64, true, true>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                            {lanes, per_lane, first_sequence, site});
}
KERNEL(attention_forward_dropout_d128_bf16, 128,
       (const bf16* qkv, bf16* y, float* lse,
        uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t window, float scale,
        const Lane* lanes, uint32_t per_lane, uint32_t first_sequence, uint32_t site)) {
  attention::forward<128, 2, 32, false, true>(qkv, y, lse, {t, heads, kv_heads, dim, window, scale},
                                              {lanes, per_lane, first_sequence, site});
}
