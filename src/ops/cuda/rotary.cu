// Queries and keys in their places: each of the first heads of a row is divided by the root of its mean
// square, if so asked, then turned by the angles of its position, if there are any; what follows is copied.
// One launch each way, one block a row; blocks are small, so that many rows are on their way at once.

constexpr float PLACE_EPS = 1e-5f;  // as in `rotary.rs`

// A sum over `lanes` neighbours, a power of two, in each of them.
__device__ inline float sum_of(float x, uint32_t lanes) {
  for (uint32_t offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(ALL_LANES, x, offset);
  return x;
}

// (a, b) turned by an angle, `way` 1, or back, −1.
__device__ inline void turn(float& a, float& b, const float* turns, float way) {
  float cos = turns[0], sin = turns[1] * way, low = a * cos - b * sin;
  b = a * sin + b * cos;
  a = low;
}
template <int N> __device__ inline void turn_pack(float (&a)[N], float (&b)[N], const float* turns, float way) {
#pragma unroll
  for (int j = 0; j < N; j += PACK<float> / 2) {
    float both[PACK<float>];
    load_pack(turns + 2 * j, both);
    for (int m = 0; m < PACK<float> / 2 && m < N; m++) turn(a[j + m], b[j + m], both + 2 * m, way);
  }
}

// A row as pairs of packs, i and i + D/2, for whole heads of 2·N·(power of two) channels or fewer: `lanes`
// threads hold a head, which need not all have a pair.
template <class T>
__device__ inline void place_row(const T* x, T* y, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
                                 uint32_t lanes, uint32_t normed) {
  constexpr int N = PACK<T>;
  uint32_t half = dim / 2, i = threadIdx.x % lanes * N, units = cols / dim, together = blockDim.x / lanes;
  for (uint32_t first = 0; first < units; first += together) {
    uint32_t unit = first + threadIdx.x / lanes;
    bool there = unit < units && i < half, head = unit < heads;
    float a[N] = {}, b[N] = {};
    if (there) {
      load_pack(x + unit * dim + i, a);
      load_pack(x + unit * dim + half + i, b);
    }
    if (normed) {
      float squares = 0;
#pragma unroll
      for (int j = 0; j < N; j++) squares += a[j] * a[j] + b[j] * b[j];
      float scale = rsqrtf(sum_of(squares, lanes) / dim + PLACE_EPS);
#pragma unroll
      for (int j = 0; j < N; j++) {
        a[j] *= head ? scale : 1.0f;
        b[j] *= head ? scale : 1.0f;
      }
    }
    if (!there) continue;
    if (turns && head) turn_pack(a, b, turns + 2 * i, 1.0f);
    store_pack(y + unit * dim + i, a);
    store_pack(y + unit * dim + half + i, b);
  }
}

// Any row: a warp a head, channel by channel.
template <class T>
__device__ inline void place_any_row(const T* x, T* y, const float* turns, uint32_t cols, uint32_t heads,
                                     uint32_t dim, uint32_t normed) {
  uint32_t half = dim / 2, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  for (uint32_t head = threadIdx.x / WARP; head < heads; head += warps) {
    const T* from = x + head * dim;
    T* to = y + head * dim;
    float scale = 1;
    if (normed) {
      float squares = 0;
      for (uint32_t i = lane; i < dim; i += WARP) squares += to_f32(from[i]) * to_f32(from[i]);
      scale = rsqrtf(warp_sum(squares) / dim + PLACE_EPS);
    }
    for (uint32_t i = lane; i < half; i += WARP) {
      float a = to_f32(from[i]) * scale, b = to_f32(from[i + half]) * scale;
      if (turns) turn(a, b, turns + 2 * i, 1.0f);
      to[i] = from_f32<T>(a);
      to[i + half] = from_f32<T>(b);
    }
    // What has no partner is not turned.
    if (dim % 2 && lane == 0) to[dim - 1] = from_f32<T>(to_f32(from[dim - 1]) * scale);
  }
  for (uint32_t c = heads * dim + threadIdx.x; c < cols; c += blockDim.x) y[c] = x[c];
}

// `turns` has (cos, sin) of `t` positions and D/2 pairs, or is null; `lanes` is 0 where rows are not made
// of whole packs.
template <class T>
__device__ inline void place(const T* x, T* y, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
                             uint32_t t, uint32_t lanes, uint32_t normed) {
  uint64_t first = static_cast<uint64_t>(blockIdx.x) * cols;
  if (turns) turns += static_cast<uint64_t>(blockIdx.x % t) * (dim / 2) * 2;
  if (lanes) place_row(x + first, y + first, turns, cols, heads, dim, lanes, normed);
  else place_any_row(x + first, y + first, turns, cols, heads, dim, normed);
}
KERNEL(place_f32, 256, (const float* x, float* y, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
                        uint32_t t, uint32_t lanes, uint32_t normed)) {
  place(x, y, turns, cols, heads, dim, t, lanes, normed);
}
KERNEL(place_bf16, 256, (const bf16* x, bf16* y, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
                         uint32_t t, uint32_t lanes, uint32_t normed)) {
  place(x, y, turns, cols, heads, dim, t, lanes, normed);
}

// Backwards: with g = dy turned back, r the inverse root and n = x·r, dx = r·(g − n·mean(g·n)); added to
// what is there where `add` says so. Of x only the heads are read, and only where they were normed.
template <class T>
__device__ inline void place_row_back(const T* x, const T* dy, T* dx, const float* turns, uint32_t cols,
                                      uint32_t heads, uint32_t dim, uint32_t lanes, uint32_t normed, uint32_t add) {
  constexpr int N = PACK<T>;
  uint32_t half = dim / 2, i = threadIdx.x % lanes * N, units = cols / dim, together = blockDim.x / lanes;
  for (uint32_t first = 0; first < units; first += together) {
    uint32_t unit = first + threadIdx.x / lanes, at = unit * dim + i;
    bool there = unit < units && i < half, head = unit < heads;
    float a[N] = {}, b[N] = {};
    if (there) {
      load_pack(dy + at, a);
      load_pack(dy + at + half, b);
    }
    if (turns && there && head) turn_pack(a, b, turns + 2 * i, -1.0f);
    if (normed) {
      float low[N] = {}, high[N] = {}, squares = 0, along = 0;
      if (there && head) {
        load_pack(x + at, low);
        load_pack(x + at + half, high);
      }
#pragma unroll
      for (int j = 0; j < N; j++) {
        squares += low[j] * low[j] + high[j] * high[j];
        along += a[j] * low[j] + b[j] * high[j];
      }
      squares = sum_of(squares, lanes);
      along = sum_of(along, lanes);
      float r = head ? rsqrtf(squares / dim + PLACE_EPS) : 1.0f;
      along *= r * r / dim;
#pragma unroll
      for (int j = 0; j < N; j++) {
        a[j] = r * (a[j] - low[j] * along);
        b[j] = r * (b[j] - high[j] * along);
      }
    }
    if (!there) continue;
    if (add) {
      add_pack(dx + at, a);
      add_pack(dx + at + half, b);
    }
    store_pack(dx + at, a);
    store_pack(dx + at + half, b);
  }
}

template <class T> __device__ inline void put(T* to, float value, uint32_t add) {
  *to = from_f32<T>(add ? value + to_f32(*to) : value);
}

template <class T>
__device__ inline void place_any_row_back(const T* x, const T* dy, T* dx, const float* turns, uint32_t cols,
                                          uint32_t heads, uint32_t dim, uint32_t normed, uint32_t add) {
  uint32_t half = dim / 2, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  for (uint32_t head = threadIdx.x / WARP; head < heads; head += warps) {
    const T *from = x + head * dim, *of = dy + head * dim;
    float r = 1, along = 0, squares = 0;
    // f(i, dy turned back there), for all channels of this thread's.
    auto each = [=](auto f) {
      for (uint32_t i = lane; i < half; i += WARP) {
        float a = to_f32(of[i]), b = to_f32(of[i + half]);
        if (turns) turn(a, b, turns + 2 * i, -1.0f);
        f(i, a);
        f(i + half, b);
      }
      if (dim % 2 && lane == 0) f(dim - 1, to_f32(of[dim - 1]));
    };
    if (normed) {
      each([&](uint32_t i, float d) {
        squares += to_f32(from[i]) * to_f32(from[i]);
        along += d * to_f32(from[i]);
      });
      r = rsqrtf(warp_sum(squares) / dim + PLACE_EPS);
      along = warp_sum(along) * r * r / dim;
    }
    each([&](uint32_t i, float d) {
      float towards = normed ? to_f32(from[i]) * along : 0.0f;
      put(dx + head * dim + i, r * (d - towards), add);
    });
  }
  for (uint32_t c = heads * dim + threadIdx.x; c < cols; c += blockDim.x) put(dx + c, to_f32(dy[c]), add);
}

template <class T>
__device__ inline void place_back(const T* x, const T* dy, T* dx, const float* turns, uint32_t cols, uint32_t heads,
                                  uint32_t dim, uint32_t t, uint32_t lanes, uint32_t normed, uint32_t add) {
  uint64_t first = static_cast<uint64_t>(blockIdx.x) * cols;
  if (turns) turns += static_cast<uint64_t>(blockIdx.x % t) * (dim / 2) * 2;
  if (lanes) place_row_back(x + first, dy + first, dx + first, turns, cols, heads, dim, lanes, normed, add);
  else place_any_row_back(x + first, dy + first, dx + first, turns, cols, heads, dim, normed, add);
}
KERNEL(place_backward_f32, 256,
       (const float* x, const float* dy, float* dx, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
        uint32_t t, uint32_t lanes, uint32_t normed, uint32_t add)) {
  place_back(x, dy, dx, turns, cols, heads, dim, t, lanes, normed, add);
}
KERNEL(place_backward_bf16, 256,
       (const bf16* x, const bf16* dy, bf16* dx, const float* turns, uint32_t cols, uint32_t heads, uint32_t dim,
        uint32_t t, uint32_t lanes, uint32_t normed, uint32_t add)) {
  place_back(x, dy, dx, turns, cols, heads, dim, t, lanes, normed, add);
}
