// Dropout: x times the mask of a site, forwards; dy times the same mask, backwards. The mask is a function
// of the lane's key, its step, the site and the element's place in the lane's batch; see `mask_words`.

// What a word leaves of an element.
__device__ inline float dropped(float x, uint32_t word, const Lane& lane) {
  return word < lane.threshold ? 0.0f : x * lane.keep_scale;
}

// N numbers of a lane, the first of which has a `place` in its batch that is a multiple of four.
template <class T, int N>
__device__ inline void drop_pack(const T* x, T* y, uint64_t place, uint32_t site, const Lane& lane) {
  float v[N];
  load_pack(x, v);
#pragma unroll
  for (int j = 0; j < N; j += 4) {
    uint32_t words[4];
    mask_words(lane, place / 4 + j / 4, site, words);
#pragma unroll
    for (int m = 0; m < 4; m++) v[j + m] = dropped(v[j + m], words[m], lane);
  }
  store_pack(y, v);
}

// (K, len) elements, of which each lane's first is number `first` of its batch. blockIdx.y is the lane.
// A thread makes 16 bytes from one or two calls of Philox; where 16 bytes would straddle calls or lanes it
// makes the up to four elements of one call.
template <class T>
__device__ inline void dropout(const T* x, T* y, uint64_t len, uint64_t first, uint32_t site, const Lane* lanes) {
  constexpr int N = PACK<T>;
  const Lane lane = lanes[blockIdx.y];
  x += blockIdx.y * len;
  y += blockIdx.y * len;
  uint64_t thread = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
  if (len % N == 0 && first % 4 == 0) {
    for (uint64_t i = thread * N; i < len; i += stride * N) drop_pack<T, N>(x + i, y + i, first + i, site, lane);
    return;
  }
  uint64_t end = first + len;
  for (uint64_t block = first / 4 + thread; block * 4 < end; block += stride) {
    uint32_t words[4];
    mask_words(lane, block, site, words);
    for (int m = 0; m < 4; m++) {
      uint64_t place = block * 4 + m;
      if (place < first || place >= end) continue;
      y[place - first] = from_f32<T>(dropped(to_f32(x[place - first]), words[m], lane));
    }
  }
}
KERNEL(dropout_f32, 256,
       (const float* x, float* y, uint64_t len, uint64_t first, uint32_t site, const Lane* lanes)) {
  dropout(x, y, len, first, site, lanes);
}
KERNEL(dropout_bf16, 256,
       (const bf16* x, bf16* y, uint64_t len, uint64_t first, uint32_t site, const Lane* lanes)) {
  dropout(x, y, len, first, site, lanes);
}
