// What each instruction set provides. One table per compilation of src/isa/, chosen once by src/cpu.cpp.
#pragma once

#include <cstdint>

#include "grunlock_gru.h"
#include "grunlock_lstm.h"
#include "grunlock_pool.h"
#include "grunlock_scan.h"
#include "grunlock_window.h"
#include "thread_pool.hpp"

namespace grunlock {

constexpr int64_t kPoolColumns = 256;  // whole cache lines

struct Kernels {
  const char* name;
  int64_t lanes;  // floats per vector
  void (*gru_forward)(const grunlock_gru_call& call);
  void (*gru_backward)(const grunlock_gru_call& call);
  int64_t (*gru_packed_floats)(const grunlock_gru_call& call);
  void (*gru_pack)(const grunlock_gru_call& call, int64_t direction, float* packed);
  void (*lstm_forward)(const grunlock_lstm_call& call);
  void (*lstm_backward)(const grunlock_lstm_call& call);
  void (*scan_forward)(const grunlock_scan_call& call);
  void (*scan_backward)(const grunlock_scan_call& call);
  void (*window_forward)(const grunlock_window_call& call);
  void (*window_backward)(const grunlock_window_call& call);
  // Columns [begin, end) of one sequence, kPoolColumns at most.
  void (*pool_forward)(const grunlock_pool_call& call, int64_t sequence, int64_t begin, int64_t end);
  void (*pool_backward)(const grunlock_pool_call& call, int64_t sequence, int64_t begin, int64_t end);
  void (*sigmoid)(const float* x, float* y, int64_t count);
  void (*tanh)(const float* x, float* y, int64_t count);
};

const Kernels* kernels_baseline();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_avx512_bf16();
const Kernels* kernels_neon();

const Kernels& selected_kernels();  // the one in use, defined in cpu.cpp

}  // namespace grunlock
