// Curves of one number, and the gate of two: `activation.rs` says which. Each number is touched once, in
// packs of 16 bytes, so that what counts is the memory's speed.

__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

// x·Φ(x), exact but for the rounding of erf.
struct Gelu {
  static __device__ inline float phi(float x) { return 0.5f + 0.5f * erff(x * 0.70710678f); }
  static __device__ inline float value(float x) { return x * phi(x); }
  static __device__ inline float slope(float x) {
    return phi(x) + x * 0.39894228f * __expf(-0.5f * x * x);
  }
};

// x·σ(2u) with u = √(2/π)·(x + 0.044715·x³), which is GELU's approximation by tanh.
struct GeluTanh {
  static constexpr float TWICE_ROOT = 1.5957691f, CUBE = 0.044715f;
  static __device__ inline float half(float x) { return sigmoid(x * TWICE_ROOT * (x * x * CUBE + 1.0f)); }
  static __device__ inline float value(float x) { return x * half(x); }
  static __device__ inline float slope(float x) {
    float s = half(x);
    return x * s * (1.0f - s) * TWICE_ROOT * (x * x * (3.0f * CUBE) + 1.0f) + s;
  }
};

// max(x, 0)²
struct ReluSquared {
  static __device__ inline float value(float x) { return fmaxf(x, 0.0f) * fmaxf(x, 0.0f); }
  static __device__ inline float slope(float x) { return 2.0f * fmaxf(x, 0.0f); }
};

// y = C(x)
template <class C, class T> __device__ inline void bend(const T* x, T* y, uint64_t len) {
  each_pack<T>(len, [=](uint64_t i, auto width) {
    float v[width.value];
    load_pack(x + i, v);
#pragma unroll
    for (int j = 0; j < width.value; j++) v[j] = C::value(v[j]);
    store_pack(y + i, v);
  });
}

// dx = dy·C'(x), or more of it.
template <class C, class T>
__device__ inline void bend_back(const T* x, const T* dy, T* dx, uint64_t len, bool add) {
  each_pack<T>(len, [=](uint64_t i, auto width) {
    float v[width.value], d[width.value], sum[width.value] = {};
    load_pack(x + i, v);
    load_pack(dy + i, d);
    if (add) load_pack(dx + i, sum);
#pragma unroll
    for (int j = 0; j < width.value; j++) sum[j] += d[j] * C::slope(v[j]);
    store_pack(dx + i, sum);
  });
}

KERNEL(gelu_f32, 256, (const float* x, float* y, uint64_t len)) { bend<Gelu>(x, y, len); }
KERNEL(gelu_bf16, 256, (const bf16* x, bf16* y, uint64_t len)) { bend<Gelu>(x, y, len); }
KERNEL(gelu_back_f32, 256, (const float* x, const float* dy, float* dx, uint64_t len, uint32_t add)) {
  bend_back<Gelu>(x, dy, dx, len, add != 0);
}
KERNEL(gelu_back_bf16, 256, (const bf16* x, const bf16* dy, bf16* dx, uint64_t len, uint32_t add)) {
  bend_back<Gelu>(x, dy, dx, len, add != 0);
}

KERNEL(gelu_tanh_f32, 256, (const float* x, float* y, uint64_t len)) { bend<GeluTanh>(x, y, len); }
KERNEL(gelu_tanh_bf16, 256, (const bf16* x, bf16* y, uint64_t len)) { bend<GeluTanh>(x, y, len); }
KERNEL(gelu_tanh_back_f32, 256, (const float* x, const float* dy, float* dx, uint64_t len, uint32_t add)) {
  bend_back<GeluTanh>(x, dy, dx, len, add != 0);
}
KERNEL(gelu_tanh_back_bf16, 256, (const bf16* x, const bf16* dy, bf16* dx, uint64_t len, uint32_t add)) {
  bend_back<GeluTanh>(x, dy, dx, len, add != 0);
}

KERNEL(relu_squared_f32, 256, (const float* x, float* y, uint64_t len)) { bend<ReluSquared>(x, y, len); }
KERNEL(relu_squared_bf16, 256, (const bf16* x, bf16* y, uint64_t len)) { bend<ReluSquared>(x, y, len); }
KERNEL(relu_squared_back_f32, 256, (const float* x, const float* dy, float* dx, uint64_t len, uint32_t add)) {
  bend_back<ReluSquared>(x, dy, dx, len, add != 0);
}
KERNEL(relu_squared_back_bf16, 256, (const bf16* x, const bf16* dy, bf16* dx, uint64_t len, uint32_t add)) {
  bend_back<ReluSquared>(x, dy, dx, len, add != 0);
}

// Calls f(where in x, where in y, width) for packs of a gate's rows: x has `cols` gates and then as many
// values in a row, y has `cols` results. Where rows are no whole packs, one number at a time.
template <class T, int N, class F> __device__ inline void each_gated(uint64_t len, uint32_t cols, F f) {
  uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
  uint64_t thread = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (uint64_t i = thread; i < len / N; i += stride) {
    // In 32 bits, where a division is short: there are fewer packs than 2^32.
    uint32_t row = static_cast<uint32_t>(i) / (cols / N);
    f((i + static_cast<uint64_t>(row) * (cols / N)) * N, i * N, Width<N>{});
  }
}
template <class T, class F> __device__ inline void each_gated(uint64_t len, uint32_t cols, F f) {
  if (cols % PACK<T> == 0) each_gated<T, PACK<T>>(len, cols, f);
  else each_gated<T, 1>(len, cols, f);
}

// y = silu(g)·u
template <class T> __device__ inline void gate(const T* x, T* y, uint64_t len, uint32_t cols) {
  each_gated<T>(len, cols, [=](uint64_t from, uint64_t to, auto width) {
    float g[width.value], u[width.value];
    load_pack(x + from, g);
    load_pack(x + from + cols, u);
#pragma unroll
    for (int j = 0; j < width.value; j++) g[j] *= sigmoid(g[j]) * u[j];
    store_pack(y + to, g);
  });
}
KERNEL(swiglu_f32, 256, (const float* x, float* y, uint64_t len, uint32_t cols)) { gate(x, y, len, cols); }
KERNEL(swiglu_bf16, 256, (const bf16* x, bf16* y, uint64_t len, uint32_t cols)) { gate(x, y, len, cols); }

// dg = dy·u·σ(g)·(1 + g·(1 − σ(g))) and du = dy·g·σ(g), or more of them.
template <class T>
__device__ inline void gate_back(const T* x, const T* dy, T* dx, uint64_t len, uint32_t cols, bool add) {
  each_gated<T>(len, cols, [=](uint64_t from, uint64_t to, auto width) {
    float g[width.value], u[width.value], d[width.value], dg[width.value] = {}, du[width.value] = {};
    load_pack(x + from, g);
    load_pack(x + from + cols, u);
    load_pack(dy + to, d);
    if (add) {
      load_pack(dx + from, dg);
      load_pack(dx + from + cols, du);
    }
#pragma unroll
    for (int j = 0; j < width.value; j++) {
      float s = sigmoid(g[j]);
      dg[j] += d[j] * u[j] * s * (1.0f + g[j] * (1.0f - s));
      du[j] += d[j] * g[j] * s;
    }
    store_pack(dx + from, dg);
    store_pack(dx + from + cols, du);
  });
}
KERNEL(swiglu_back_f32, 256,
       (const float* x, const float* dy, float* dx, uint64_t len, uint32_t cols, uint32_t add)) {
  gate_back(x, dy, dx, len, cols, add != 0);
}
KERNEL(swiglu_back_bf16, 256,
       (const bf16* x, const bf16* dy, bf16* dx, uint64_t len, uint32_t cols, uint32_t add)) {
  gate_back(x, dy, dx, len, cols, add != 0);
}
