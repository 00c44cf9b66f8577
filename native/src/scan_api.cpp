// The C interface of grunlock_scan.h.
#include "grunlock_scan.h"

#include "kernels.hpp"

void grunlock_scan_forward(const grunlock_scan_call* call) { grunlock::selected_kernels().scan_forward(*call); }

void grunlock_scan_backward(const grunlock_scan_call* call) { grunlock::selected_kernels().scan_backward(*call); }
