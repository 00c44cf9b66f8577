// The C interface of grunlock_gru.h.
#include "grunlock_gru.h"

#include "checked_call.hpp"
#include "kernels.hpp"

int32_t grunlock_gru_forward(const grunlock_gru_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().gru_forward, *call, *call);
}

int32_t grunlock_gru_backward(const grunlock_gru_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().gru_backward, *call, *call);
}

void grunlock_sigmoid(const float* x, float* y, int64_t count) { grunlock::selected_kernels().sigmoid(x, y, count); }

void grunlock_tanh(const float* x, float* y, int64_t count) { grunlock::selected_kernels().tanh(x, y, count); }
