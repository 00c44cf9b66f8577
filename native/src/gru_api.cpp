// The C interface of grunlock_gru.h.
#include "grunlock_gru.h"

#include <new>

#include "kernels.hpp"

namespace {

// Whether every row of the index is a vector: anything else would read outside the caller's memory.
bool in_bounds(const grunlock_gru_call& call) {
  bool inside = true;
  for (int64_t n = 0; call.index != nullptr && n < call.num_rows; ++n) {
    inside &= call.index[n] >= 0 && call.index[n] < call.num_vectors;
  }
  return inside;
}

template <class Function>
int32_t run(Function function, const grunlock_gru_call* call) {
  if (!in_bounds(*call)) {
    return GRUNLOCK_INDEX_OUTSIDE;
  }
  try {
    function(*call);
    return GRUNLOCK_DONE;
  } catch (const std::bad_alloc&) {
    return GRUNLOCK_OUT_OF_MEMORY;
  }
}

}  // namespace

int32_t grunlock_gru_forward(const grunlock_gru_call* call) {
  return run(grunlock::selected_kernels().gru_forward, call);
}

int32_t grunlock_gru_backward(const grunlock_gru_call* call) {
  return run(grunlock::selected_kernels().gru_backward, call);
}

void grunlock_sigmoid(const float* x, float* y, int64_t count) { grunlock::selected_kernels().sigmoid(x, y, count); }

void grunlock_tanh(const float* x, float* y, int64_t count) { grunlock::selected_kernels().tanh(x, y, count); }
