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

// n gates x [n][P] of one row in place to (x - mean) / sqrt(var + eps); padding must be zero and stays so. kept: [n][P] a
// copy of the result, stored by the keeper, or nullptr. scales[n]: 1 / sqrt(var + eps).
template <int n>
void normalize_gates(float* x, const Shape& s, float* scales, const Keeper* keeper = nullptr, float* kept = nullptr) {
  const UnitVectors units(s);
  const float size = static_cast<float>(s.H);
  Floats total[n] = {};
  for (int64_t v = 0; v < units.count; ++v) {
    each<n>([&](int g) { total[g] = total[g] + load(x + g * s.P + v * kLanes); });
  }
  Floats mean[n], squares[n] = {};
  each<n>([&](int g) { mean[g] = splat(sum(total[g]) / size); });
  for (int64_t v = 0; v < units.count; ++v) {
    each<n>([&](int g) {
      const Floats centred = units.real(load(x + g * s.P + v * kLanes) - mean[g], v);
      squares[g] = squares[g] + centred * centred;
    });
  }
  float scale[n];
  each<n>([&](int g) { scale[g] = 1.0f / std::sqrt(sum(squares[g]) / size + kNormEpsilon); });
  each<n>([&](int g) { scales[g] = scale[g]; });
  for (int64_t v = 0; v < units.count; ++v) {
    each<n>([&](int g) {
      float* place = x + g * s.P + v * kLanes;
      const Floats normalized = units.real((load(place) - mean[g]) * scale[g], v);
      store(place, normalized);
      if (kept != nullptr) {
        keeper->store(kept + g * s.P + v * kLanes, normalized);
      }
    });
  }
  for (int64_t column = units.count * kLanes; kept != nullptr && column < s.P; column += kLanes) {
    each<n>([&](int g) { keeper->store(kept + g * s.P + column, splat(0.0f)); });
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
template <int n>
void normalize_back(const NormBackRow<n>& row, const float* gain, const Shape& s) {
  const UnitVectors units(s);
  const float size = static_cast<float>(s.H);
  const auto gradient = [&](int g, int64_t v) { return load(row.gradients[g] + v * kLanes); };
  const auto normalized = [&](int g, int64_t v) { return load(row.normalized + g * s.P + v * kLanes); };
  const auto add = [&](float* sums, int g, int64_t v, Floats value) {
    float* place = sums + g * s.P + v * kLanes;
    store(place, load(place) + value);
  };
  Floats total[n] = {}, product[n] = {};
  for (int64_t v = 0; v < units.count; ++v) {
    each<n>([&](int g) {
      const Floats d = gradient(g, v) * units.load_of(gain + g * s.H, v);
      total[g] = total[g] + d;
      product[g] = product[g] + d * normalized(g, v);
    });
  }
  for (int64_t v = 0; row.gain_sums != nullptr && v < units.count; ++v) {
    each<n>([&](int g) {
      add(row.gain_sums, g, v, gradient(g, v) * normalized(g, v));
      add(row.bias_sums, g, v, gradient(g, v));
    });
  }
  Floats mean[n], slope[n];
  each<n>([&](int g) { mean[g] = splat(sum(total[g]) / size); });
  each<n>([&](int g) { slope[g] = splat(sum(product[g]) / size); });
  for (int64_t v = 0; v < units.count; ++v) {
    each<n>([&](int g) {
      const Floats d = gradient(g, v) * units.load_of(gain + g * s.H, v);
      const Floats around = d - mean[g] - normalized(g, v) * slope[g];
      store(row.results[g] + v * kLanes, units.real(around * row.scales[g], v));
    });
  }
  for (int64_t column = units.count * kLanes; column < s.P; column += kLanes) {
    each<n>([&](int g) { store(row.results[g] + column, splat(0.0f)); });
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
