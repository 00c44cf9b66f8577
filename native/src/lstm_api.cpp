// The C interface of grunlock_lstm.h.
#include "grunlock_lstm.h"

#include "checked_call.hpp"
#include "kernels.hpp"

int32_t grunlock_lstm_forward(const grunlock_lstm_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().lstm_forward, *call, call->layer);
}

int32_t grunlock_lstm_backward(const grunlock_lstm_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().lstm_backward, *call, call->layer);
}
