// Pooling of grunlock_pool.h, some columns of one sequence at a time. Equations: grunlock/kernels/pool.py.
//
// Plain loops, which compilers turn into vectors. What is kept of a sequence's rows stays in the first level cache. The
// rows lie so far apart that processors do not foresee the next one: it is asked for ahead of time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../kernels.hpp"
#include "vector.hpp"

namespace grunlock::GRUNLOCK_ISA {

using PoolCall = grunlock_pool_call;

inline int64_t num_rows_of(const PoolCall& call, int64_t sequence) {
  int64_t t = 0;
  while (t < call.num_steps && call.batch_sizes[t] > sequence) ++t;
  return t;
}

// work(n, ahead) for each packed row n of a sequence, in order of time; ahead: a row soon to come, or n at the end.
template <class Work>
void each_row(const PoolCall& call, int64_t sequence, int64_t length, const Work& work) {
  const int64_t* sizes = call.batch_sizes;
  int64_t n = sequence;
  for (int64_t t = 0; t < length; n += sizes[t], ++t) {
    work(n, t + 2 < length ? n + sizes[t] + sizes[t + 1] : n);
  }
}

// One more row for the largest so far and the number of rows that have it.
inline void take_row(const float* __restrict row, float* __restrict max, float* __restrict ties, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    const bool above = (row[j] > max[j]) | (row[j] != row[j]);  // NaN is above all, and nothing is above it
    const float highest = above ? row[j] : max[j];
    const float before = above ? 0.0f : ties[j];
    ties[j] = before + (row[j] == highest ? 1.0f : 0.0f);
    max[j] = highest;
  }
}

inline void add_row(const float* __restrict row, float* __restrict sum, int64_t width) {
  for (int64_t j = 0; j < width; ++j) sum[j] += row[j];
}

inline void pool_forward(const PoolCall& call, int64_t sequence, int64_t begin, int64_t end) {
  const int64_t width = end - begin, place = sequence * call.size + begin;
  const bool with_max = call.max != nullptr, with_mean = call.mean != nullptr;
  if (with_max) {
    std::fill_n(call.max + place, width, -HUGE_VALF);
    std::fill_n(call.ties + place, width, 0.0f);
  }
  if (with_mean) std::fill_n(call.mean + place, width, 0.0f);
  const int64_t length = num_rows_of(call, sequence);
  each_row(call, sequence, length, [&](int64_t n, int64_t ahead) {
    const float* row = call.rows + n * call.rows_stride + begin;
    prefetch_floats(call.rows + ahead * call.rows_stride + begin, width);
    if (with_max) take_row(row, call.max + place, call.ties + place, width);
    if (with_mean) add_row(row, call.mean + place, width);
  });
  const float steps = static_cast<float>(length);
  for (int64_t j = place; with_mean && j < place + width; ++j) call.mean[j] /= steps;
}

// What every row gets, and what those with the maximum get besides.
inline void share_out(const PoolCall& call, int64_t sequence, int64_t length, int64_t begin, int64_t width,
                      float* __restrict mean_share, float* __restrict max_share) {
  const float steps = static_cast<float>(length);
  const float* dmean = call.dmean == nullptr ? nullptr : call.dmean + sequence * call.dmean_stride + begin;
  for (int64_t j = 0; j < width; ++j) mean_share[j] = dmean == nullptr ? 0.0f : dmean[j] / steps;
  if (call.dmax != nullptr) {
    const float* dmax = call.dmax + sequence * call.dmax_stride + begin;
    const float* ties = call.ties + sequence * call.size + begin;
    for (int64_t j = 0; j < width; ++j) max_share[j] = dmax[j] / ties[j];
  }
}

// A product, so that a gradient that is not finite shows in every row.
inline void give_row(const float* __restrict row, const float* __restrict max, const float* __restrict mean_share,
                     const float* __restrict max_share, float* __restrict drow, int64_t width) {
  for (int64_t j = 0; j < width; ++j) drow[j] = mean_share[j] + (row[j] == max[j] ? 1.0f : 0.0f) * max_share[j];
}

inline void pool_backward(const PoolCall& call, int64_t sequence, int64_t begin, int64_t end) {
  const int64_t width = end - begin, length = num_rows_of(call, sequence);
  float mean_share[kPoolColumns], max_share[kPoolColumns];
  share_out(call, sequence, length, begin, width, mean_share, max_share);
  each_row(call, sequence, length, [&](int64_t n, int64_t ahead) {
    float* drow = call.drows + n * call.size + begin;
    prefetch_floats(call.drows + ahead * call.size + begin, width);
    if (call.dmax == nullptr) {
      std::copy_n(mean_share, width, drow);
    } else {
      const float* row = call.rows + n * call.rows_stride + begin;
      prefetch_floats(call.rows + ahead * call.rows_stride + begin, width);
      give_row(row, call.max + sequence * call.size + begin, mean_share, max_share, drow, width);
    }
  });
}

}  // namespace grunlock::GRUNLOCK_ISA
