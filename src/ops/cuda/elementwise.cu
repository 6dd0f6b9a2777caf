// What touches each number once: sums of gradients, constant factors, the weights' bf16 copy.

// N numbers in one load or store, as f32.
template <class T, int N> __device__ inline void load_pack(const T* from, float (&to)[N]) {
  Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int j = 0; j < N; j++) to[j] = to_f32(pack.at[j]);
}
template <class T, int N> __device__ inline void store_pack(T* to, const float (&from)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; j++) pack.at[j] = from_f32<T>(from[j]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// N numbers at `from`, added to what is there.
template <class T, int N> __device__ inline void add_pack(const T* from, float (&to)[N]) {
  float more[N];
  load_pack(from, more);
#pragma unroll
  for (int j = 0; j < N; j++) to[j] += more[j];
}

template <int N> struct Width {
  static constexpr int value = N;
};

// Calls f(first element, width of the pack) for packs of 16 bytes of T, a grid apart; the numbers that are
// left over come one by one. What is touched is aligned to a pack, as slabs are.
template <class T, class F> __device__ inline void each_pack(uint64_t len, F f) {
  constexpr int N = PACK<T>;
  uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
  uint64_t thread = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (uint64_t i = thread; i < len / N; i += stride) f(i * N, Width<N>{});
  uint64_t whole = len / N * N;
  if (thread < len - whole) f(whole + thread, Width<1>{});
}

// sum += more
template <class T> __device__ inline void add(T* sum, const T* more, uint64_t len) {
  each_pack<T>(len, [=](uint64_t i, auto width) {
    float s[width.value], m[width.value];
    load_pack(sum + i, s);
    load_pack(more + i, m);
#pragma unroll
    for (int j = 0; j < width.value; j++) s[j] += m[j];
    store_pack(sum + i, s);
  });
}
KERNEL(add_f32, 256, (float* sum, const float* more, uint64_t len)) { add(sum, more, len); }
KERNEL(add_bf16, 256, (bf16* sum, const bf16* more, uint64_t len)) { add(sum, more, len); }

// y = factor·x
template <class T> __device__ inline void scale(const T* x, T* y, uint64_t len, float factor) {
  each_pack<T>(len, [=](uint64_t i, auto width) {
    float v[width.value];
    load_pack(x + i, v);
#pragma unroll
    for (int j = 0; j < width.value; j++) v[j] *= factor;
    store_pack(y + i, v);
  });
}
KERNEL(scale_f32, 256, (const float* x, float* y, uint64_t len, float factor)) { scale(x, y, len, factor); }
KERNEL(scale_bf16, 256, (const bf16* x, bf16* y, uint64_t len, float factor)) { scale(x, y, len, factor); }

// The nearest bf16 of each weight.
KERNEL(round_to_bf16, 256, (const float* from, bf16* to, uint64_t len)) {
  each_pack<bf16>(len, [=](uint64_t i, auto width) {
    float v[width.value];
    load_pack(from + i, v);
    store_pack(to + i, v);
  });
}
