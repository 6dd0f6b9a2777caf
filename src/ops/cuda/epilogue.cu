// What follows a product where cuBLASLt does not do it on the way: a bias, GELU, GELU's slope.
#include "prelude.cuh"

constexpr int EPILOGUE_THREADS = 256;

// √(2/π) and the cubic's factor in GELU's tanh approximation (Hendrycks and Gimpel 2016).
constexpr float EPILOGUE_SCALE = 0.7978845608028654f;
constexpr float EPILOGUE_CUBIC = 0.044715f;

__device__ inline float epilogue_gelu(float x) {
  return 0.5f * x * (1.0f + tanhf(EPILOGUE_SCALE * (x + EPILOGUE_CUBIC * x * x * x)));
}

__device__ inline float epilogue_slope(float x) {
  float t = tanhf(EPILOGUE_SCALE * (x + EPILOGUE_CUBIC * x * x * x));
  float inner = EPILOGUE_SCALE * (1.0f + 3.0f * EPILOGUE_CUBIC * x * x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
}

enum : uint32_t { EPILOGUE_BIAS, EPILOGUE_GELU, EPILOGUE_GELU_BACK };

// One thread a number: rows in blockIdx.y, as many as a grid has and then the next ones; products in z.
template <class T>
__device__ void epilogue(T* d, const T* bias, T* before, uint32_t what, uint32_t rows, uint32_t cols,
                         uint64_t row_len, uint64_t each, uint64_t bias_each) {
  uint32_t col = blockIdx.x * EPILOGUE_THREADS + threadIdx.x;
  if (col >= cols) return;
  float add = bias == nullptr ? 0.0f : to_f32(bias[blockIdx.z * bias_each + col]);
  for (uint32_t row = blockIdx.y; row < rows; row += gridDim.y) {
    uint64_t at = blockIdx.z * each + row * row_len + col;
    float x = to_f32(d[at]);
    if (what == EPILOGUE_GELU_BACK) {
      x *= epilogue_slope(to_f32(before[at]));
    } else {
      x += add;
    }
    if (what == EPILOGUE_GELU) {
      before[at] = from_f32<T>(x);
      x = epilogue_gelu(x);
    }
    d[at] = from_f32<T>(x);
  }
}

KERNEL(epilogue_f32, EPILOGUE_THREADS,
       (float* d, const float* bias, float* before, uint32_t what, uint32_t rows, uint32_t cols,
        uint64_t row_len, uint64_t each, uint64_t bias_each)) {
  epilogue<float>(d, bias, before, what, rows, cols, row_len, each, bias_each);
}

KERNEL(epilogue_bf16, EPILOGUE_THREADS,
       (bf16* d, const bf16* bias, bf16* before, uint32_t what, uint32_t rows, uint32_t cols,
        uint64_t row_len, uint64_t each, uint64_t bias_each)) {
  epilogue<bf16>(d, bias, before, what, rows, cols, row_len, each, bias_each);
}
