// The C interface of grunlock_window.h.
#include "grunlock_window.h"

#include "checked_call.hpp"
#include "kernels.hpp"

int32_t grunlock_window_forward(const grunlock_window_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().window_forward, *call, *call);
}

int32_t grunlock_window_backward(const grunlock_window_call* call) {
  return grunlock::run_checked(grunlock::selected_kernels().window_backward, *call, *call);
}
