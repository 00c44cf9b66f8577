// Rows of tables: optimiser steps, averages, sums. Plain loops over the columns of a row, for the compiler to
// vectorise (square roots need -fno-math-errno for that). The equations are in grunlock/kernels/rows.py.
//
// No function template of the standard library is used: one instance of it would serve all instruction sets.
#include "rows.hpp"

namespace grunlock {
namespace GRUNLOCK_ISA {
namespace {

// One row's place in each array of a step.
struct Row {
  float* __restrict weight;
  float* __restrict first;
  float* __restrict second;
  const float* __restrict grad;
};

Row row_of(const grunlock_row_step& step, int64_t row) {
  const int64_t place = step.ids[row] * step.width;
  return {step.weight + place, step.first == nullptr ? nullptr : step.first + place,
          step.second == nullptr ? nullptr : step.second + place, step.grads + row * step.width};
}

void sgd(const grunlock_row_step& step, const grunlock_sgd_rule& rule, int64_t begin, int64_t end) {
  const int64_t width = step.width;
  const float lr = rule.lr, momentum = rule.momentum;
  for (int64_t row = begin; row < end; ++row) {
    const Row at = row_of(step, row);
    if (at.first == nullptr) {
      for (int64_t j = 0; j < width; ++j) at.weight[j] -= lr * at.grad[j];
    } else if (rule.nesterov) {
      for (int64_t j = 0; j < width; ++j) {
        const float velocity = momentum * at.first[j] + at.grad[j];
        at.first[j] = velocity;
        at.weight[j] -= lr * (at.grad[j] + momentum * velocity);
      }
    } else {
      for (int64_t j = 0; j < width; ++j) {
        const float velocity = momentum * at.first[j] + at.grad[j];
        at.first[j] = velocity;
        at.weight[j] -= lr * velocity;
      }
    }
  }
}

void rmsprop(const grunlock_row_step& step, const grunlock_rmsprop_rule& rule, int64_t begin, int64_t end) {
  const int64_t width = step.width;
  const float lr = rule.lr, alpha = rule.alpha, take = rule.take, eps = rule.eps;
  for (int64_t row = begin; row < end; ++row) {
    const Row at = row_of(step, row);
    for (int64_t j = 0; j < width; ++j) {
      const float g = at.grad[j];
      const float mean_square = alpha * at.first[j] + take * g * g;
      at.first[j] = mean_square;
      at.weight[j] -= lr * (g / (__builtin_sqrtf(mean_square) + eps));
    }
  }
}

void adagrad(const grunlock_row_step& step, const grunlock_adagrad_rule& rule, int64_t begin, int64_t end) {
  const int64_t width = step.width;
  const float lr = rule.lr, eps = rule.eps;
  for (int64_t row = begin; row < end; ++row) {
    const Row at = row_of(step, row);
    for (int64_t j = 0; j < width; ++j) {
      const float g = at.grad[j];
      const float square_sum = at.first[j] + g * g;
      at.first[j] = square_sum;
      at.weight[j] -= lr * g / (__builtin_sqrtf(square_sum) + eps);
    }
  }
}

void adam(const grunlock_row_step& step, const grunlock_adam_rule& rule, int64_t begin, int64_t end) {
  const int64_t width = step.width;
  const float step_size = rule.step_size, root = rule.root, eps = rule.eps;
  const float take1 = rule.take1, beta2 = rule.beta2, take2 = rule.take2;
  for (int64_t row = begin; row < end; ++row) {
    const Row at = row_of(step, row);
    for (int64_t j = 0; j < width; ++j) {
      const float g = at.grad[j];
      const float mean = at.first[j] + take1 * (g - at.first[j]);
      const float mean_square = beta2 * at.second[j] + take2 * g * g;
      at.first[j] = mean;
      at.second[j] = mean_square;
      at.weight[j] -= step_size * mean / (__builtin_sqrtf(mean_square) / root + eps);
    }
  }
}

void average(float* average, const float* weight, const int64_t* ids, const float* take, int64_t width, int64_t begin,
             int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* __restrict a = average + ids[row] * width;
    const float* __restrict w = weight + ids[row] * width;
    const float share = take[row], rest = 1.0f - share;
    if (share < 0.5f) {  // from the nearer end, so that 0 and 1 are exact
      for (int64_t j = 0; j < width; ++j) a[j] += share * (w[j] - a[j]);
    } else {
      for (int64_t j = 0; j < width; ++j) a[j] = w[j] - rest * (w[j] - a[j]);
    }
  }
}

void scatter(const float* grads, const int64_t* slots, const int64_t* offsets, float* sums, int64_t num_bags,
             int64_t width, int64_t begin, int64_t end) {
  for (int64_t bag = 0; bag < num_bags; ++bag) {
    const int64_t count = offsets[bag + 1] - offsets[bag];
    if (count == 0) continue;
    const float* __restrict grad = grads + bag * width;
    const float scale = 1.0f / static_cast<float>(count);
    for (int64_t entry = offsets[bag]; entry < offsets[bag + 1]; ++entry) {
      float* __restrict sum = sums + slots[entry] * width;
      for (int64_t j = begin; j < end; ++j) sum[j] += scale * grad[j];
    }
  }
}

}  // namespace
}  // namespace GRUNLOCK_ISA

#define GRUNLOCK_JOIN(a, b) a##b
#define GRUNLOCK_NAMED(a, b) GRUNLOCK_JOIN(a, b)

const RowKernels* GRUNLOCK_NAMED(row_kernels_, GRUNLOCK_ISA)() {
  namespace isa = GRUNLOCK_ISA;
  static const RowKernels kernels = {isa::sgd, isa::rmsprop, isa::adagrad, isa::adam, isa::average, isa::scatter};
  return &kernels;
}

}  // namespace grunlock
