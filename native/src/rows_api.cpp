// The C interface of grunlock_rows.h: cuts the work into pieces and hands them to the instruction set in use.
#include "grunlock_rows.h"

#include <cstring>

#include "in_pieces.hpp"
#include "isa/rows.hpp"
#include "kernels.hpp"

namespace grunlock {
namespace {

constexpr int64_t kColumnsPerPiece = 64;      // whole cache lines, so that no two pieces write to one

const RowKernels& row_kernels() {
  const char* name = selected_kernels().name;
#ifdef GRUNLOCK_HAVE_AVX2
  if (std::strcmp(name, "avx2") == 0) return *row_kernels_avx2();
#endif
#ifdef GRUNLOCK_HAVE_AVX512
  if (std::strcmp(name, "avx512") == 0) return *row_kernels_avx512();
#endif
#ifdef GRUNLOCK_HAVE_AVX512_BF16
  if (std::strcmp(name, "avx512_bf16") == 0) return *row_kernels_avx512_bf16();
#endif
#ifdef GRUNLOCK_HAVE_NEON
  if (std::strcmp(name, "neon") == 0) return *row_kernels_neon();
#endif
#ifdef GRUNLOCK_HAVE_BASELINE
  if (std::strcmp(name, "baseline") == 0) return *row_kernels_baseline();
#endif
  __builtin_unreachable();  // the selected set is one of those compiled in
}

int64_t rows_per_piece(int64_t width) { return 1 + kFloatsPerPiece / (width + 1); }

template <class Rule>
void take_step(void (*kernel)(const grunlock_row_step&, const Rule&, int64_t, int64_t), const grunlock_row_step& step,
               const Rule& rule) {
  in_pieces(step.num_rows, rows_per_piece(step.width),
            [&](int64_t begin, int64_t end) { kernel(step, rule, begin, end); });
}

}  // namespace
}  // namespace grunlock

void grunlock_rows_sgd(const grunlock_row_step* step, const grunlock_sgd_rule* rule) {
  grunlock::take_step(grunlock::row_kernels().sgd, *step, *rule);
}

void grunlock_rows_rmsprop(const grunlock_row_step* step, const grunlock_rmsprop_rule* rule) {
  grunlock::take_step(grunlock::row_kernels().rmsprop, *step, *rule);
}

void grunlock_rows_adagrad(const grunlock_row_step* step, const grunlock_adagrad_rule* rule) {
  grunlock::take_step(grunlock::row_kernels().adagrad, *step, *rule);
}

void grunlock_rows_adam(const grunlock_row_step* step, const grunlock_adam_rule* rule) {
  grunlock::take_step(grunlock::row_kernels().adam, *step, *rule);
}

void grunlock_rows_average(float* average, const float* weight, const int64_t* ids, const float* take,
                           int64_t num_rows, int64_t width) {
  const auto kernel = grunlock::row_kernels().average;
  grunlock::in_pieces(num_rows, grunlock::rows_per_piece(width), [&](int64_t begin, int64_t end) {
    kernel(average, weight, ids, take, width, begin, end);
  });
}

void grunlock_rows_scatter(const float* grads, const int64_t* slots, const int64_t* offsets, float* sums,
                           int64_t num_bags, int64_t width) {
  const auto kernel = grunlock::row_kernels().scatter;
  grunlock::in_pieces(width, grunlock::kColumnsPerPiece, [&](int64_t begin, int64_t end) {
    kernel(grads, slots, offsets, sums, num_bags, width, begin, end);
  });
}
