// What each instruction set provides for rows of tables. Filled in by rows.cpp, once per compilation of src/isa/.
#pragma once

#include <cstdint>

#include "grunlock_rows.h"

namespace grunlock {

// Every function works on the rows or columns [begin, end) and may run beside itself on others.
struct RowKernels {
  void (*sgd)(const grunlock_row_step& step, const grunlock_sgd_rule& rule, int64_t begin, int64_t end);
  void (*rmsprop)(const grunlock_row_step& step, const grunlock_rmsprop_rule& rule, int64_t begin, int64_t end);
  void (*adagrad)(const grunlock_row_step& step, const grunlock_adagrad_rule& rule, int64_t begin, int64_t end);
  void (*adam)(const grunlock_row_step& step, const grunlock_adam_rule& rule, int64_t begin, int64_t end);
  void (*average)(float* average, const float* weight, const int64_t* ids, const float* take, int64_t width,
                  int64_t begin, int64_t end);
  // Columns [begin, end) of all bags: rows of sums meet in many bags, columns never do.
  void (*scatter)(const float* grads, const int64_t* slots, const int64_t* offsets, float* sums, int64_t num_bags,
                  int64_t width, int64_t begin, int64_t end);
};

const RowKernels* row_kernels_baseline();
const RowKernels* row_kernels_avx2();
const RowKernels* row_kernels_avx512();
const RowKernels* row_kernels_avx512_bf16();
const RowKernels* row_kernels_neon();

}  // namespace grunlock
