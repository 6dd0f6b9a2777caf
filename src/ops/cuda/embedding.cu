// Embeddings: tokens' rows plus positions' rows, and their gradients, every sum in a fixed order.

// x = wte[token] + wpe[position], one warp a row: a wide load of each f32 table, a store of half to all
// of that. `stride_te` and `stride_pe` are numbers from one lane's table to the next; wpe may be null.
// blockIdx.y is the lane.
template <class T, int N>
__device__ inline void embed(const uint32_t* tokens, const float* wte, const float* wpe, T* x, uint32_t rows,
                             uint32_t cols, uint32_t t, uint64_t stride_te, uint64_t stride_pe) {
  uint32_t row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= rows) return;
  uint64_t at = static_cast<uint64_t>(blockIdx.y) * rows + row;
  const float* token = wte + blockIdx.y * stride_te + static_cast<uint64_t>(tokens[at]) * cols;
  const float* place = wpe ? wpe + blockIdx.y * stride_pe + static_cast<uint64_t>(row % t) * cols : nullptr;
  for (uint32_t c = threadIdx.x % WARP * N; c < cols; c += WARP * N) {
    float v[N];
    load_pack(token + c, v);
    if (place) {
      float p[N];
      load_pack(place + c, p);
#pragma unroll
      for (int j = 0; j < N; j++) v[j] += p[j];
    }
    store_pack(x + at * cols + c, v);
  }
}
template <class T>
__device__ inline void embed_of(const uint32_t* tokens, const float* wte, const float* wpe, T* x, uint32_t rows,
                                uint32_t cols, uint32_t t, uint64_t stride_te, uint64_t stride_pe) {
  if (cols % 4 == 0) embed<T, 4>(tokens, wte, wpe, x, rows, cols, t, stride_te, stride_pe);
  else embed<T, 1>(tokens, wte, wpe, x, rows, cols, t, stride_te, stride_pe);
}
KERNEL(embed_f32, 256, (const uint32_t* tokens, const float* wte, const float* wpe, float* x, uint32_t rows,
                        uint32_t cols, uint32_t t, uint64_t stride_te, uint64_t stride_pe)) {
  embed_of(tokens, wte, wpe, x, rows, cols, t, stride_te, stride_pe);
}
KERNEL(embed_bf16, 256, (const uint32_t* tokens, const float* wte, const float* wpe, bf16* x, uint32_t rows,
                         uint32_t cols, uint32_t t, uint64_t stride_te, uint64_t stride_pe)) {
  embed_of(tokens, wte, wpe, x, rows, cols, t, stride_te, stride_pe);
}

// Adds up N numbers at(i) for i = 0, 1, … below `count`, in this order; eight of them are on their way at
// once. Where `inside` is false nothing is read, and at(i) is asked for all the same.
template <class T, int N, class At>
__device__ inline void sum_up(uint32_t count, float (&sum)[N], At at, bool inside) {
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const T* from[8];
    Pack<T, N> v[8];
#pragma unroll
    for (int m = 0; m < 8; m++) from[m] = at(i + m);
    if (!inside) continue;
#pragma unroll
    for (int m = 0; m < 8; m++) v[m] = *reinterpret_cast<const Pack<T, N>*>(from[m]);
#pragma unroll
    for (int m = 0; m < 8; m++)
      for (int j = 0; j < N; j++) sum[j] += to_f32(v[m].at[j]);
  }
  for (; i < count; i++) {
    const T* from = at(i);
    if (inside) add_pack(from, sum);
  }
}

// Adds to the gradient of a token's row in the table the sum over the token's rows of the batch, as the
// host sorted them (`staged.rs`; after `encoder_backward` of llm.c): one bucket at a time, 32·N columns,
// one lane. The block's warps take a row in turn; then their sums are added in the order of the warps.
//
// With a character vocabulary there are some 65 buckets of hundreds of rows: times the tiles of columns
// that is few blocks, so they come with up to 32 warps. A large vocabulary has thousands of short
// buckets, for which 8 warps are already too many. A grid smaller than the number of buckets goes on to
// the next ones until the first empty one; after it all are.
constexpr uint32_t EMBED_WARPS = 32;
template <class T, int N>
__device__ inline void embed_back(const T* dx, const uint32_t* order, const uint32_t* buckets, float* dwte,
                                  uint32_t rows, uint32_t cols, uint32_t most_buckets, uint64_t stride,
                                  float (&part)[EMBED_WARPS][WARP * 4]) {
  uint32_t warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  uint32_t tile = blockIdx.y * WARP * N, own = lane * N;
  bool inside = tile + own < cols;
  order += static_cast<uint64_t>(blockIdx.z) * rows;
  dx += static_cast<uint64_t>(blockIdx.z) * rows * cols + tile + own;
  buckets += static_cast<uint64_t>(blockIdx.z) * most_buckets * 3;
  for (uint32_t bucket = blockIdx.x; bucket < most_buckets; bucket += gridDim.x) {
    uint32_t token = buckets[bucket * 3], first = buckets[bucket * 3 + 1], end = buckets[bucket * 3 + 2];
    if (first == end) return;
    float sum[N] = {};
    // A warp's rows are `first` + warp + i·warps; 32 of their numbers come in one load.
    for (uint32_t from = first + warp; from < end; from += WARP * warps) {
      uint32_t left = (end - from + warps - 1) / warps, mine = from + lane * warps;
      uint32_t row = mine < end ? order[mine] : 0;
      sum_up<T, N>(left < WARP ? left : WARP, sum, [=](uint32_t i) {
        uint32_t of = __shfl_sync(ALL_LANES, row, i);
        return dx + static_cast<uint64_t>(of) * cols;
      }, inside);
    }
    for (int j = 0; j < N; j++) part[warp][own + j] = sum[j];
    __syncthreads();
    uint32_t c = threadIdx.x;
    if (c < WARP * N && tile + c < cols) {
      float total = 0;
      for (uint32_t w = 0; w < warps && w < end - first; w++) total += part[w][c];
      dwte[blockIdx.z * stride + static_cast<uint64_t>(token) * cols + tile + c] += total;
    }
    __syncthreads();
  }
}
template <class T>
__device__ inline void embed_back_of(const T* dx, const uint32_t* order, const uint32_t* buckets, float* dwte,
                                     uint32_t rows, uint32_t cols, uint32_t most_buckets, uint64_t stride) {
  __shared__ float part[EMBED_WARPS][WARP * 4];
  if (cols % 4 == 0) embed_back<T, 4>(dx, order, buckets, dwte, rows, cols, most_buckets, stride, part);
  else embed_back<T, 1>(dx, order, buckets, dwte, rows, cols, most_buckets, stride, part);
}
KERNEL(embed_backward_f32, 1024, (const float* dx, const uint32_t* order, const uint32_t* buckets, float* dwte,
                                  uint32_t rows, uint32_t cols, uint32_t most_buckets, uint64_t stride)) {
  embed_back_of(dx, order, buckets, dwte, rows, cols, most_buckets, stride);
}
KERNEL(embed_backward_bf16, 1024, (const bf16* dx, const uint32_t* order, const uint32_t* buckets, float* dwte,
                                   uint32_t rows, uint32_t cols, uint32_t most_buckets, uint64_t stride)) {
  embed_back_of(dx, order, buckets, dwte, rows, cols, most_buckets, stride);
}

// Adds to the gradient of positions, `len` = T·C numbers of a lane, the sum over the sequences, from the
// first to the last: a thread for every N numbers. blockIdx.y is the lane.
template <class T, int N>
__device__ inline void embed_place_back(const T* dx, float* dwpe, uint64_t len, uint32_t sequences, uint64_t stride) {
  uint64_t i = (static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= len) return;
  dx += blockIdx.y * len * sequences + i;
  float sum[N] = {}, there[N];
  sum_up<T, N>(sequences, sum, [=](uint32_t b) { return dx + b * len; }, true);
  float* to = dwpe + blockIdx.y * stride + i;
  load_pack(to, there);
  for (int j = 0; j < N; j++) there[j] += sum[j];
  store_pack(to, there);
}
template <class T>
__device__ inline void embed_place_back_of(const T* dx, float* dwpe, uint64_t len, uint32_t sequences,
                                           uint64_t stride) {
  if (len % 4 == 0 && stride % 4 == 0) embed_place_back<T, 4>(dx, dwpe, len, sequences, stride);
  else embed_place_back<T, 1>(dx, dwpe, len, sequences, stride);
}
KERNEL(embed_place_backward_f32, 256,
       (const float* dx, float* dwpe, uint64_t len, uint32_t sequences, uint64_t stride)) {
  embed_place_back_of(dx, dwpe, len, sequences, stride);
}
KERNEL(embed_place_backward_bf16, 256,
       (const bf16* dx, float* dwpe, uint64_t len, uint32_t sequences, uint64_t stride)) {
  embed_place_back_of(dx, dwpe, len, sequences, stride);
}
