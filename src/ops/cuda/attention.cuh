// What the attention kernels share: who sees whom, which weights are dropped, and tiles of bf16 rows in
// shared memory with the tensor cores' fragments of them.
#pragma once
#include "prelude.cuh"

namespace attention {

// As `Layout` in `attention/layout.rs`: a row of qkv is H·D queries, G·D keys, G·D values.
struct Shape {
  uint32_t t, heads, kv_heads, dim;
  uint32_t window;  // a query sees itself and `window` − 1 keys before it; at least 1, T where all
  float scale;

  __device__ size_t row() const { return static_cast<size_t>(heads + 2 * kv_heads) * dim; }
  __device__ size_t width() const { return static_cast<size_t>(heads) * dim; }
  __device__ uint32_t shared_by() const { return heads / kv_heads; }
  __device__ bool sees(uint32_t query, uint32_t key) const { return key <= query && key + window > query; }
  __device__ uint32_t first_seen(uint32_t query) const { return query < window ? 0 : query + 1 - window; }
  // The last query that sees a key.
  __device__ uint32_t last_seeing(uint32_t key) const { return key + window < t ? key + window - 1 : t - 1; }
};

// A pass's dropout site; kernels that drop nothing are given no lanes, or ignore them. A lane's sequences are counted from the first of the step's whole batch.
struct Dropout {
  const Lane* lanes;
  uint32_t per_lane, first_sequence, site;
};

// The mask of one head of one sequence; nothing where nothing is dropped, which saves registers.
template <bool DROPS> struct Mask {
  uint32_t site, t;
  uint64_t first;  // index of the weight of query 0 and key 0
  Lane lane;

  __device__ float keep_scale() const { return DROPS ? lane.keep_scale : 1.0f; }
  __device__ uint64_t index(uint32_t query, uint32_t key) const {
    return first + static_cast<uint64_t>(query) * t + key;
  }
  // Which of four weights stay, a bit each, from an index on that is a multiple of four.
  __device__ uint32_t four(uint64_t index) const {
    uint32_t words[4], bits = 0;
    mask_words(lane, index / 4, site, words);
    for (int i = 0; i < 4; i++) bits |= static_cast<uint32_t>(words[i] >= lane.threshold) << i;
    return bits;
  }
  __device__ bool one(uint32_t query, uint32_t key) const {
    uint64_t at = index(query, key);
    return four(at / 4 * 4) >> (at % 4) & 1;
  }
  // Whether four keys from a multiple of four on are words of one block.
  __device__ bool aligned() const { return t % 4 == 0; }
};

template <bool DROPS>
__device__ inline Mask<DROPS> mask_of(const Shape& shape, const Dropout& dropout, uint32_t sequence, uint32_t head) {
  if (!DROPS) return {};
  uint64_t within = dropout.first_sequence + sequence % dropout.per_lane;
  uint64_t matrix = within * shape.heads + head;
  return {dropout.site, shape.t, matrix * shape.t * shape.t, dropout.lanes[sequence / dropout.per_lane]};
}

// One head's columns of one sequence.
template <class T> struct Rows {
  T* at;        // its first row
  size_t row;   // elements from one row to the next
  uint32_t end; // rows
  uint32_t dim; // columns
};
template <class T> __device__ inline Rows<T> rows_of(T* qkv, const Shape& shape, uint32_t sequence, uint32_t head) {
  return {qkv + sequence * (shape.t * shape.row()) + static_cast<size_t>(head) * shape.dim, shape.row(), shape.t,
          shape.dim};
}
template <class T> __device__ inline Rows<T> outputs_of(T* y, const Shape& shape, uint32_t sequence, uint32_t head) {
  return {y + sequence * (shape.t * shape.width()) + static_cast<size_t>(head) * shape.dim, shape.width(), shape.t,
          shape.dim};
}

// Where the backward pass puts or adds what it found.
template <class T> struct Gradient {
  T* dqkv;
  bool add;
};

// What it knows of a row of scores.
struct Row {
  float lse;    // log-sum-exp, in base 2 beside the tensor cores; +∞ past the last query: its weights are zero
  float delta;  // Σ dy·y
};

// Base 2, by the special function unit; 0 of −∞.
__device__ inline float exp2_fast(float x) {
#ifdef WINDTUNNEL_EMULATED
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
  return y;
#endif
}
constexpr float LOG2_E = 1.44269504f;

// Warps of a block.
constexpr int WARPS = 4;

// ---- Tiles: rows of D bf16 in shared memory, in pieces of eight.

template <int D> constexpr int PIECES = D / 8;

// Where a piece of a row is. Pieces change places within their row, so that eight rows' pieces of the
// same column, which one ldmatrix reads, are in eight different groups of four banks.
template <int D> __device__ inline uint32_t place(uint32_t row, uint32_t piece) {
  // 128 bytes are two rows of 32.
  if (D == 32) return (row * PIECES<D> + (piece ^ (row / 2 % 4))) * 8;
  return (row * PIECES<D> + (piece ^ (row % 8))) * 8;
}

// Begins to load rows from `first` on, by all threads; zeros past the last row and the last column.
template <int D, int ROWS, int THREADS>
__device__ inline void load_tile(bf16* tile, const Rows<const bf16>& rows, uint32_t first) {
  constexpr int STEP = THREADS / PIECES<D>;
  static_assert(ROWS % STEP == 0, "each thread loads equally often");
  uint32_t row = threadIdx.x / PIECES<D>, piece = threadIdx.x % PIECES<D>;
  const bf16* from = rows.at + (first + row) * rows.row + piece * 8;
#pragma unroll
  for (int i = 0; i < ROWS; i += STEP) {
    bool there = first + row + i < rows.end && piece * 8 < rows.dim;
    cp_async_16(tile + place<D>(row + i, piece), from + i * rows.row, there);
  }
}

// Sixteen rows' columns 16·k to 16·k + 15 as a left factor.
template <int D> __device__ inline void load_left(uint32_t (&a)[4], const bf16* tile, uint32_t first, int k) {
  uint32_t lane = threadIdx.x % WARP;
  ldmatrix_x4(a, tile + (place<D>(first + lane % 16, lane / 16) ^ 16 * k));
}

// The same as a right factor, transposed: two products' columns are the rows 0 to 7 and 8 to 15.
template <int D>
__device__ inline void load_right_transposed(uint32_t (&b)[2][2], const bf16* tile, uint32_t first, int k) {
  uint32_t lane = threadIdx.x % WARP, r[4];
  ldmatrix_x4(r, tile + (place<D>(first + lane % 8 + lane / 16 * 8, lane / 8 % 2) ^ 16 * k));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

// And not transposed: two products' columns are the tile's 16·n to 16·n + 7 and 16·n + 8 to 16·n + 15.
template <int D> __device__ inline void load_right(uint32_t (&b)[2][2], const bf16* tile, uint32_t first, int n) {
  uint32_t lane = threadIdx.x % WARP, r[4];
  ldmatrix_x4_trans(r, tile + (place<D>(first + lane % 16, lane / 16) ^ 16 * n));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

// M·16 rows of a tile as a left factor: held in registers, or loaded again for every product.
template <int D, int M, bool HELD> struct Left {
  const bf16* tile;
  uint32_t first;
  uint32_t held[HELD ? D / 16 : 1][M][4];

  __device__ __forceinline__ Left(const bf16* tile, uint32_t first) : tile(tile), first(first) {}
  // Once the tile is there.
  __device__ __forceinline__ void begin() {
    if constexpr (HELD) {
#pragma unroll
      for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int m = 0; m < M; m++) load_left<D>(held[k][m], tile, first + m * 16, k);
    }
  }
  // Columns 16·k to 16·k + 15.
  __device__ __forceinline__ void get(int k, uint32_t (&a)[M][4]) const {
#pragma unroll
    for (int m = 0; m < M; m++) {
      if constexpr (HELD) {
#pragma unroll
        for (int i = 0; i < 4; i++) a[m][i] = held[k][m][i];
      } else {
        load_left<D>(a[m], tile, first + m * 16, k);
      }
    }
  }
};

// s ← A·Bᵀ: a warp's M·16 rows times rows `first` to `first` + 8·N of a tile.
template <int D, int M, int N, bool HELD>
__device__ __forceinline__ void dots(float (&s)[M][N][4], const Left<D, M, HELD>& left, const bf16* tile,
                                     uint32_t first) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int c = 0; c < 4; c++) s[m][n][c] = 0;
#pragma unroll(HELD ? D / 16 : 4)
  for (int k = 0; k < D / 16; k++) {
    uint32_t a[M][4];
    left.get(k, a);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[2][2];
      load_right_transposed<D>(b, tile, first + n * 8, k);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_16816(s[m][n], a[m], b[0]);
        mma_16816(s[m][n + 1], a[m], b[1]);
      }
    }
  }
}

// A product's accumulators of sixteen columns as a left factor: who holds what is the same.
__device__ __forceinline__ void as_left(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

// sums += W·B: W's 8·N columns times rows `first` on of a tile.
template <int D, int M, int N>
__device__ __forceinline__ void blend(float (&sums)[M][D / 8][4], const float (&w)[M][N][4], const bf16* tile,
                                      uint32_t first) {
#pragma unroll
  for (int k = 0; k < N; k += 2) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) as_left(a[m], w[m][k], w[m][k + 1]);
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
      uint32_t b[2][2];
      load_right<D>(b, tile, first + k * 8, n);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_16816(sums[m][2 * n], a[m], b[0]);
        mma_16816(sums[m][2 * n + 1], a[m], b[1]);
      }
    }
  }
}

// Stores sixteen rows of sums, which this warp has, as rows `first` on, through a piece of shared memory
// that is its own: sixteen bytes a thread instead of four.
template <int D>
__device__ __forceinline__ void store_rows(const Rows<bf16>& rows, uint32_t first, float (&sums)[D / 8][4],
                                           bf16* stage, bool add) {
  uint32_t lane = threadIdx.x % WARP;
#pragma unroll
  for (int n = 0; n < D / 8; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint32_t row = lane / 4 + 8 * half, col = n * 8 + lane % 4 * 2;
      float low = sums[n][2 * half], high = sums[n][2 * half + 1];
      if (add && first + row < rows.end && col < rows.dim) {
        auto old = *reinterpret_cast<const Pack<bf16, 2>*>(rows.at + (first + row) * rows.row + col);
        low += to_f32(old.at[0]);
        high += to_f32(old.at[1]);
      }
      *reinterpret_cast<uint32_t*>(stage + place<D>(row, n) + lane % 4 * 2) = pack_bf16(low, high);
    }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 16 * PIECES<D>; i += WARP) {
    uint32_t row = (i + lane) / PIECES<D>, piece = (i + lane) % PIECES<D>;
    if (first + row < rows.end && piece * 8 < rows.dim) {
      *reinterpret_cast<Pack<bf16, 8>*>(rows.at + (first + row) * rows.row + piece * 8) =
          *reinterpret_cast<const Pack<bf16, 8>*>(stage + place<D>(row, piece));
    }
  }
}

// Which weights of sixteen queries from `query` and 8·N keys from `key` on stay: bit 4·n + c for the
// accumulator c of product n. Two threads beside each other hold four keys of two queries: each draws
// for one of them, and they swap.
template <int N>
__device__ __forceinline__ uint32_t keep_by_query(const Mask<true>& mask, uint32_t query, uint32_t key) {
  uint32_t lane = threadIdx.x % WARP, bits = 0;
  query += lane / 4;
  if (!mask.aligned()) {
    for (uint32_t i = 0; i < 4 * N; i++) {
      bool stays = mask.one(query + i % 4 / 2 * 8, key + i / 4 * 8 + lane % 4 * 2 + i % 2);
      bits |= static_cast<uint32_t>(stays) << i;
    }
    return bits;
  }
  bool odd = lane % 2;
  uint64_t at = mask.index(query + (odd ? 8 : 0), key + lane % 4 / 2 * 4);
#pragma unroll 2
  for (int n = 0; n < N; n++) bits |= mask.four(at + 8 * n) << (4 * n);
  uint32_t other = __shfl_xor_sync(ALL_LANES, bits, 1);
  if (odd) return (other >> 2 & 0x33333333u) | (bits & 0xccccccccu);
  return (bits & 0x33333333u) | (other & 0x33333333u) << 2;
}

// The same where keys are the rows and queries the columns: four threads whose keys follow each other
// hold four keys of four (query, half) places: each draws for one of them.
template <int N>
__device__ __forceinline__ uint32_t keep_by_key(const Mask<true>& mask, uint32_t key, uint32_t query) {
  uint32_t lane = threadIdx.x % WARP, group = lane / 4, bits = 0;
  query += lane % 4 * 2;
  if (!mask.aligned()) {
    for (uint32_t i = 0; i < 4 * N; i++) {
      bool stays = mask.one(query + i / 4 * 8 + i % 2, key + group + i % 4 / 2 * 8);
      bits |= static_cast<uint32_t>(stays) << i;
    }
    return bits;
  }
  uint32_t mine = group % 4, drawn = 0;
#pragma unroll 2
  for (int n = 0; n < N; n++) {
    uint64_t at = mask.index(query + 8 * n + mine % 2, key + group / 4 * 4 + mine / 2 * 8);
    drawn |= mask.four(at) << (4 * n);
  }
#pragma unroll
  for (uint32_t c = 0; c < 4; c++) {
    uint32_t its = __shfl_sync(ALL_LANES, drawn, (lane & ~12u) | c * 4);
    bits |= (its >> mine & 0x11111111u) << c;
  }
  return bits;
}

}  // namespace attention
