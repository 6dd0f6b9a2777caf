// cuBLASLt on the CPU: the part of `driver.cpp` that multiplies, column by column as the library does.
// Part of one translation unit.
#pragma once

namespace lt {

// `cublasStatus_t`.
enum Status { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
// `cudaDataType_t`, `cublasComputeType_t`, `cublasLtEpilogue_t`.
enum Type { F32 = 0, BF16 = 14 };
enum Compute { IN_F32 = 68, IN_TF32 = 77 };
enum Epilogue : uint32_t { DEFAULT = 1, BIAS = 4, GELU_AUX = 160, GELU_AUX_BIAS = 164, DGELU = 192 };

struct Operation {
  int32_t compute, scale, transposed_a = 0, transposed_b = 0;
  uint32_t epilogue = DEFAULT;
  uint64_t bias = 0, aux = 0;
  int64_t bias_stride = 0, aux_ld = 0, aux_stride = 0;
};

struct Layout {
  int32_t type;
  uint64_t rows, cols;
  int64_t ld;
  int32_t count = 1;
  int64_t stride = 0;
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t schemes = 7, alignment[4] = {256, 256, 256, 256};
};

struct Algorithm {
  uint64_t data[8];
};

struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int32_t state;
  float waves;
  int32_t reserved[4];
};

inline int refused(int status, const char* why) {
  fprintf(stderr, "emulated cuBLASLt: %s\n", why);
  return status;
}

template <class T> int set(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof(T)) return refused(INVALID_VALUE, "an attribute of another size");
  return memcpy(&to, from, bytes), SUCCESS;
}

inline bool beside(uint32_t epilogue) { return epilogue >= 128; }
inline bool biased(uint32_t epilogue) { return epilogue == BIAS || epilogue == GELU_AUX_BIAS; }

// What an algorithm is for: one that was found for other descriptors is no good for these.
inline uint64_t purpose(const Operation& o, const Layout& a, const Layout& b, const Layout& d) {
  uint64_t sum = 14695981039346656037ull;  // FNV-1a
  auto add = [&](uint64_t x) { sum = (sum ^ x) * 1099511628211ull; };
  for (int64_t x : {int64_t(o.compute), int64_t(o.transposed_a), int64_t(o.transposed_b), int64_t(o.epilogue),
                    o.bias_stride, o.aux_ld, o.aux_stride})
    add(x);
  for (const Layout* l : {&a, &b, &d})
    for (int64_t x : {int64_t(l->type), int64_t(l->rows), int64_t(l->cols), l->ld, int64_t(l->count), l->stride}) add(x);
  return sum;
}

inline float number(int32_t type, uint64_t address, int64_t index) {
  if (type == F32) return reinterpret_cast<const float*>(address)[index];
  return to_f32(reinterpret_cast<const bf16*>(address)[index]);
}
inline float store(int32_t type, uint64_t address, int64_t index, float x) {
  if (type == F32) return reinterpret_cast<float*>(address)[index] = x;
  return to_f32(reinterpret_cast<bf16*>(address)[index] = from_f32<bf16>(x));
}
// To nearest, ties away from zero, with ten bits of mantissa.
inline float in_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = (bits + 0x1000) & ~0x1fffu;
  memcpy(&x, &bits, 4);
  return x;
}

inline float after(const Operation& o, int32_t type, float x, int64_t row, int64_t col, int64_t k) {
  int64_t aux = k * o.aux_stride + col * o.aux_ld + row;
  if (biased(o.epilogue)) x += number(type, o.bias, k * o.bias_stride + row);
  if (o.epilogue == GELU_AUX || o.epilogue == GELU_AUX_BIAS) {
    store(type, o.aux, aux, x);
    return epilogue_gelu(x);
  }
  return o.epilogue == DGELU ? x * epilogue_slope(number(type, o.aux, aux)) : x;
}

inline void multiply(const Operation& o, float alpha, float beta, const Layout& a, uint64_t at_a, const Layout& b,
                     uint64_t at_b, const Layout& d, uint64_t at_d) {
  int64_t depth = o.transposed_a ? a.rows : a.cols;
  auto factor = [&](const Layout& l, uint64_t address, int32_t transposed, int64_t k, int64_t row, int64_t col) {
    float x = number(l.type, address, k * l.stride + (transposed ? row * l.ld + col : col * l.ld + row));
    return o.compute == IN_TF32 ? in_tf32(x) : x;
  };
  for (int64_t k = 0; k < d.count; k++)
    for (int64_t col = 0; col < int64_t(d.cols); col++)
      for (int64_t row = 0; row < int64_t(d.rows); row++) {
        float sum = 0;
        for (int64_t i = 0; i < depth; i++)
          sum += factor(a, at_a, o.transposed_a, k, row, i) * factor(b, at_b, o.transposed_b, k, i, col);
        int64_t index = k * d.stride + col * d.ld + row;
        sum = alpha * sum + (beta == 0 ? 0 : beta * number(d.type, at_d, index));
        store(d.type, at_d, index, after(o, d.type, sum, row, col, k));
      }
}

inline bool aligned(uint64_t address, uint32_t to) { return address % to == 0; }

}  // namespace lt

extern "C" {

size_t cublasLtGetVersion() { return 130000; }
int cublasLtCreate(void** handle) { return *handle = &driven::state(), lt::SUCCESS; }
int cublasLtDestroy(void*) { return lt::SUCCESS; }

int cublasLtMatmulDescCreate(void** made, int compute, int scale) {
  if ((compute != lt::IN_F32 && compute != lt::IN_TF32) || scale != lt::F32) return lt::NOT_SUPPORTED;
  auto* o = new lt::Operation;
  o->compute = compute;
  o->scale = scale;
  return *made = o, lt::SUCCESS;
}
int cublasLtMatmulDescDestroy(void* o) { return delete static_cast<lt::Operation*>(o), lt::SUCCESS; }
int cublasLtMatmulDescSetAttribute(void* operation, int attribute, const void* value, size_t bytes) {
  auto& o = *static_cast<lt::Operation*>(operation);
  switch (attribute) {
    case 3: return lt::set(o.transposed_a, value, bytes);
    case 4: return lt::set(o.transposed_b, value, bytes);
    case 7: return lt::set(o.epilogue, value, bytes);
    case 8: return lt::set(o.bias, value, bytes);
    case 10: return lt::set(o.bias_stride, value, bytes);
    case 11: return lt::set(o.aux, value, bytes);
    case 12: return lt::set(o.aux_ld, value, bytes);
    case 13: return lt::set(o.aux_stride, value, bytes);
    default: return lt::refused(lt::INVALID_VALUE, "an attribute of an operation");
  }
}

int cublasLtMatrixLayoutCreate(void** made, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  if (ld < int64_t(rows)) return lt::refused(lt::INVALID_VALUE, "columns overlap");
  return *made = new lt::Layout{type, rows, cols, ld}, lt::SUCCESS;
}
int cublasLtMatrixLayoutDestroy(void* layout) { return delete static_cast<lt::Layout*>(layout), lt::SUCCESS; }
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t bytes) {
  auto& l = *static_cast<lt::Layout*>(layout);
  switch (attribute) {
    case 5: return lt::set(l.count, value, bytes);
    case 6: return lt::set(l.stride, value, bytes);
    default: return lt::refused(lt::INVALID_VALUE, "an attribute of a layout");
  }
}

int cublasLtMatmulPreferenceCreate(void** made) { return *made = new lt::Preference, lt::SUCCESS; }
int cublasLtMatmulPreferenceDestroy(void* p) { return delete static_cast<lt::Preference*>(p), lt::SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  auto& p = *static_cast<lt::Preference*>(preference);
  switch (attribute) {
    case 1: return lt::set(p.workspace, value, bytes);
    case 3: return lt::set(p.schemes, value, bytes);
    case 5: case 6: case 7: case 8: return lt::set(p.alignment[attribute - 5], value, bytes);
    default: return lt::refused(lt::INVALID_VALUE, "an attribute of a preference");
  }
}

int cublasLtMatmulAlgoGetHeuristic(void*, void* operation, void* la, void* lb, void* lc, void* ld, void* preference,
                                   int asked, lt::Heuristic* found, int* n_found) {
  auto& o = *static_cast<lt::Operation*>(operation);
  auto &a = *static_cast<lt::Layout*>(la), &b = *static_cast<lt::Layout*>(lb), &d = *static_cast<lt::Layout*>(ld);
  auto& p = *static_cast<lt::Preference*>(preference);
  *n_found = 0;
  uint64_t inner_a = o.transposed_a ? a.rows : a.cols, inner_b = o.transposed_b ? b.cols : b.rows;
  uint64_t rows = o.transposed_a ? a.cols : a.rows, cols = o.transposed_b ? b.rows : b.cols;
  if (lc != ld || asked < 1 || inner_a != inner_b || rows != d.rows || cols != d.cols || a.count != b.count ||
      a.count != d.count)
    return lt::refused(lt::INVALID_VALUE, "matrices that do not fit");
  if (a.type != b.type || (a.type == lt::F32 && d.type != lt::F32)) return lt::NOT_SUPPORTED;
  if (o.epilogue != lt::DEFAULT && getenv("EMULATED_CUBLASLT_BARE")) return lt::NOT_SUPPORTED;
  if (lt::beside(o.epilogue) &&
      (o.aux_ld % 8 || o.aux_stride % 8 || o.aux_ld < int64_t(d.rows) || !o.aux || !lt::aligned(o.aux, 16)))
    return lt::refused(lt::INVALID_VALUE, "what lies beside the target");
  if (lt::biased(o.epilogue) && !o.bias) return lt::refused(lt::INVALID_VALUE, "no bias");
  lt::Heuristic& h = *found;
  h = {};
  h.algorithm.data[0] = lt::purpose(o, a, b, d);
  for (int i = 0; i < 4; i++) h.algorithm.data[1 + i] = p.alignment[i];
  h.algorithm.data[5] = p.schemes;
  h.workspace = p.workspace;
  *n_found = 1;
  return lt::SUCCESS;
}

int cublasLtMatmul(void*, void* operation, const float* alpha, uint64_t at_a, void* la, uint64_t at_b, void* lb,
                   const float* beta, uint64_t at_c, void* lc, uint64_t at_d, void* ld,
                   const lt::Algorithm* algorithm, uint64_t workspace, size_t bytes, void*) {
  lt::Operation o = *static_cast<lt::Operation*>(operation);
  lt::Layout a = *static_cast<lt::Layout*>(la), b = *static_cast<lt::Layout*>(lb), d = *static_cast<lt::Layout*>(ld);
  const uint64_t* data = algorithm->data;
  if (at_c != at_d || lc != ld || data[0] != lt::purpose(o, a, b, d))
    return lt::refused(lt::INVALID_VALUE, "an algorithm of another product");
  if (!lt::aligned(at_a, data[1]) || !lt::aligned(at_b, data[2]) || !lt::aligned(at_d, data[3]) ||
      !lt::aligned(at_d, data[4]))
    return lt::refused(lt::INVALID_VALUE, "addresses that are less aligned than was promised");
  if (data[5] != 2 || !workspace || !lt::aligned(workspace, 256) || bytes < (32u << 20))
    return lt::refused(lt::INVALID_VALUE, "a workspace, or how parts of a sum are added");
  float scale = *alpha, keep = *beta;
  int error = ask([=] { lt::multiply(o, scale, keep, a, at_a, b, at_b, d, at_d); });
  return error ? 13 : lt::SUCCESS;  // CUBLAS_STATUS_EXECUTION_FAILED
}
}
