// What the compiler checks of every load, store and shift when asked with
// `-fsanitize=bounds,alignment,shift`, as errors of the kernel: an index past an array, and a wide load
// from an address that is no multiple of its width, which a GPU refuses and this processor does not.
// The compiler calls these functions by name, as compiler-rt's `ubsan_handlers.h` declares them; nothing
// of its own library is linked.
#pragma once
#include "machine.h"

namespace emulated {

struct Source {
  const char* file;
  uint32_t line, column;
};

struct Type {
  uint16_t kind, info;
  char name[1];
};

struct Bounds {
  Source at;
  const Type *array, *index;
};

struct Mismatch {
  Source at;
  const Type* type;
  unsigned char log_alignment, kind;
};

[[noreturn]] inline void failed_check(const Source& at, const char* what, uintptr_t value, const Type& type) {
  if (!device || !device->kernel) {
    fprintf(stderr, "%s:%u: %s %#zx of %s\n", at.file, at.line, what, static_cast<size_t>(value), type.name);
    abort();
  }
  fail("%s:%u: %s %#zx of %s", at.file, at.line, what, static_cast<size_t>(value), type.name);
}

}  // namespace emulated

extern "C" {
[[gnu::visibility("hidden"), noreturn]] void __ubsan_handle_out_of_bounds_abort(emulated::Bounds* data,
                                                                              uintptr_t index) {
  emulated::failed_check(data->at, "no element", index, *data->array);
}
[[gnu::visibility("hidden"), noreturn]] void __ubsan_handle_type_mismatch_v1_abort(emulated::Mismatch* data,
                                                                                 uintptr_t address) {
  emulated::failed_check(data->at, "misaligned or null address", address, *data->type);
}
[[gnu::visibility("hidden"), noreturn]] void __ubsan_handle_shift_out_of_bounds_abort(emulated::Bounds* data,
                                                                                    uintptr_t, uintptr_t by) {
  emulated::failed_check(data->at, "a shift by", by, *data->array);
}
}
