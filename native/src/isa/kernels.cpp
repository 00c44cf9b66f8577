// One instruction set's kernels. Compiled once per set, with its flags and -DGRUNLOCK_ISA=<name>.
#include "gru_forward.hpp"
#include "gru_gradients.hpp"
#include "lstm_forward.hpp"
#include "lstm_gradients.hpp"
#include "pool.hpp"
#include "scan.hpp"
#include "window.hpp"

#define GRUNLOCK_JOIN_(a, b) a##b
#define GRUNLOCK_JOIN(a, b) GRUNLOCK_JOIN_(a, b)
#define GRUNLOCK_TEXT_(a) #a
#define GRUNLOCK_TEXT(a) GRUNLOCK_TEXT_(a)

namespace grunlock {
namespace GRUNLOCK_ISA {
namespace {

template <class Function>
void apply(Function function, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Floats v = load_first(x + i, count - i);
    function(&v);
    store_first(y + i, v, count - i);
  }
}

void sigmoid_all(const float* x, float* y, int64_t count) { apply(sigmoid<1>, x, y, count); }

void tanh_all(const float* x, float* y, int64_t count) { apply(tanh<1>, x, y, count); }

constexpr Kernels kTable = {GRUNLOCK_TEXT(GRUNLOCK_ISA), kLanes, gru_forward, gru_backward,
                            gru_packed_floats, gru_pack, lstm_forward, lstm_backward,
                            scan_forward, scan_backward, window_forward, window_backward, pool_forward, pool_backward,
                            sigmoid_all, tanh_all};

}  // namespace
}  // namespace GRUNLOCK_ISA

const Kernels* GRUNLOCK_JOIN(kernels_, GRUNLOCK_ISA)() { return &GRUNLOCK_ISA::kTable; }

}  // namespace grunlock
