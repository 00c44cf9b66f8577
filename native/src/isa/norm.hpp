// Layer norm over the units of gates, forward and backward. A row's gates go side by side: a norm by itself is mostly waiting
// for its sums.
#pragma once

#include <cmath>

#include "layout.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr float kNormEpsilon = 1e-5f;  // grunlock.kernels.NORM_EPS

// Vectors that hold units, and which lanes of the last one do.
struct UnitVectors {
  explicit UnitVectors(const Shape& s)
      : count((s.H + kLanes - 1) / kLanes), in_last(s.H - (count - 1) * kLanes), last(first_lanes(in_last)) {}

  // x, zero where vector v holds no unit.
  GRUNLOCK_INLINE Floats real(Floats x, int64_t v) const { return v + 1 < count ? x : x * last; }
  // Vector v of an array [H].
  GRUNLOCK_INLINE Floats load_of(const float* p, int64_t v) const {
    return load_first(p + v * kLanes, v + 1 < count ? kLanes : in_last);
  }

  int64_t count;
  int64_t in_last;
  Floats last;
};

constexpr int kNormRows = 2;  // rows at a time

template <int n>
struct Count {
  static constexpr int value = n;
};

// work(Count<rows>, first) for pairs of rows, then for one that is left.
template <class Work>
GRUNLOCK_INLINE void in_pairs(int64_t begin, int64_t end, const Work& work) {
  int64_t i = begin;
  for (; i + kNormRows <= end; i += kNormRows) {
    work(Count<kNormRows>(), i);
  }
  for (; i < end; ++i) {
    work(Count<1>(), i);
  }
}

// Gates of one row to be normalised.
struct NormRow {
  float* x;       // [n][P] in place; padding must be zero and stays so
  float* kept;    // [n][P] a copy of the result, or nullptr
  float* scales;  // [n]: 1 / sqrt(var + eps)
};

// n gates of each row to (x - mean) / sqrt(var + eps). keeper: of what is kept, or nullptr.
template <int n, int rows>
void normalize_gates(const NormRow* row, const Shape& s, const Keeper* keeper) {
  constexpr int kAll = n * rows;
  const UnitVectors units(s);
  const float size = static_cast<float>(s.H);
  const auto at = [&](int g, int64_t v) { return row[g / n].x + g % n * s.P + v * kLanes; };
  Floats total[kAll] = {};
  for (int64_t v = 0; v < units.count; ++v) {
    each<kAll>([&](int g) { total[g] = total[g] + load(at(g, v)); });
  }
  Floats mean[kAll], squares[kAll] = {};
  each<kAll>([&](int g) { mean[g] = splat(sum(total[g]) / size); });
  for (int64_t v = 0; v < units.count; ++v) {
    each<kAll>([&](int g) {
      const Floats centred = units.real(load(at(g, v)) - mean[g], v);
      squares[g] = squares[g] + centred * centred;
    });
  }
  float scales[kAll];
  each<kAll>([&](int g) { scales[g] = 1.0f / std::sqrt(sum(squares[g]) / size + kNormEpsilon); });
  each<kAll>([&](int g) { row[g / n].scales[g % n] = scales[g]; });
  for (int64_t v = 0; v < units.count; ++v) {
    each<kAll>([&](int g) {
      const Floats normalized = units.real((load(at(g, v)) - mean[g]) * scales[g], v);
      store(at(g, v), normalized);
      if (row[g / n].kept != nullptr) {
        keeper->store(row[g / n].kept + g % n * s.P + v * kLanes, normalized);
      }
    });
  }
  for (int64_t column = units.count * kLanes; column < s.P; column += kLanes) {
    each<kAll>([&](int g) {
      if (row[g / n].kept != nullptr) {
        keeper->store(row[g / n].kept + g % n * s.P + column, splat(0.0f));
      }
    });
  }
}

// What the way back through the norms of one row's n gates needs.
template <int n>
struct NormBackRow {
  const float* gradients[n];  // [P] each, of gain * normalized + bias
  const float* normalized;    // [n][P]
  const float* scales;        // [n]
  float* results[n];          // [P] each, perhaps the memory of the gradients or of normalized
  float* gain_sums;           // [n][P] gain's gradients of the rows before, added to; nullptr: not wanted
  float* bias_sums;           // [n][P] likewise
};

// From the gradients of gain * normalized + bias to those of the values before the norm. gain: [n][H].
template <int n, int rows>
void normalize_back(const NormBackRow<n>* row, const float* gain, const Shape& s) {
  constexpr int kAll = n * rows;
  const UnitVectors units(s);
  const float size = static_cast<float>(s.H);
  const auto gradient = [&](int g, int64_t v) { return load(row[g / n].gradients[g % n] + v * kLanes); };
  const auto normalized = [&](int g, int64_t v) { return load(row[g / n].normalized + g % n * s.P + v * kLanes); };
  const auto add = [&](float* sums, int g, int64_t v, Floats value) {
    float* place = sums + g % n * s.P + v * kLanes;
    store(place, load(place) + value);
  };
  Floats total[kAll] = {}, product[kAll] = {};
  for (int64_t v = 0; v < units.count; ++v) {
    each<kAll>([&](int g) {
      const Floats d = gradient(g, v) * units.load_of(gain + g % n * s.H, v);
      total[g] = total[g] + d;
      product[g] = product[g] + d * normalized(g, v);
    });
  }
  for (int64_t v = 0; row[0].gain_sums != nullptr && v < units.count; ++v) {
    Floats gains[kAll], biases[kAll];
    each<kAll>([&](int g) {
      biases[g] = gradient(g, v);
      gains[g] = biases[g] * normalized(g, v);
    });
    each<kAll>([&](int g) { add(row[g / n].gain_sums, g, v, gains[g]); });
    each<kAll>([&](int g) { add(row[g / n].bias_sums, g, v, biases[g]); });
  }
  Floats mean[kAll], slope[kAll];
  each<kAll>([&](int g) { mean[g] = splat(sum(total[g]) / size); });
  each<kAll>([&](int g) { slope[g] = splat(sum(product[g]) / size); });
  for (int64_t v = 0; v < units.count; ++v) {
    each<kAll>([&](int g) {
      const Floats d = gradient(g, v) * units.load_of(gain + g % n * s.H, v);
      const Floats around = d - mean[g] - normalized(g, v) * slope[g];
      store(row[g / n].results[g % n] + v * kLanes, units.real(around * row[g / n].scales[g % n], v));
    });
  }
  for (int64_t column = units.count * kLanes; column < s.P; column += kLanes) {
    each<kAll>([&](int g) { store(row[g / n].results[g % n] + column, splat(0.0f)); });
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
