// Layer norm over the units of gates, forward and backward. A row's gates are summed one behind the other and finished
// together: a norm by itself is mostly waiting for its sums.
#pragma once

#include <cmath>
#include <type_traits>

#include "layout.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr float kNormEpsilon = 1e-5f;  // grunlock.kernels.NORM_EPS

// step(column, lanes) for every vector of H units; lanes: how many of it are units. Whole vectors come first, by a constant.
template <class Step>
GRUNLOCK_INLINE void each_vector(int64_t H, const Step& step) {
  int64_t column = 0;
  for (; column + kLanes <= H; column += kLanes) {
    step(column, std::integral_constant<int64_t, kLanes>());
  }
  if (column < H) {
    step(column, H - column);
  }
}

// x, zero behind its first lanes.
GRUNLOCK_INLINE Floats only_first(Floats x, std::integral_constant<int64_t, kLanes>) { return x; }
GRUNLOCK_INLINE Floats only_first(Floats x, int64_t lanes) { return x * first_lanes(lanes); }

GRUNLOCK_INLINE Floats load_only(const float* p, std::integral_constant<int64_t, kLanes>) { return load(p); }
GRUNLOCK_INLINE Floats load_only(const float* p, int64_t lanes) { return load_first(p, lanes); }

inline int64_t first_padding(const Shape& s) { return round_up(s.H, kLanes); }

// n gates x [n][P] of one row in place to (x - mean) / sqrt(var + eps); padding must be zero and stays so. kept: [n][P] a
// copy of the result, stored by the keeper, or nullptr. scales[n]: 1 / sqrt(var + eps).
template <int n>
void normalize_gates(float* x, const Shape& s, float* scales, const Keeper* keeper = nullptr, float* kept = nullptr) {
  const int64_t H = s.H, P = s.P;
  const float part = 1.0f / static_cast<float>(H);
  Floats mean[n], scale[n];
  each<n>([&](int g) {
    Floats total = {};
    each_vector(H, [&](int64_t column, auto) { total = total + load(x + g * P + column); });
    mean[g] = total;
  });
  each<n>([&](int g) { mean[g] = splat(sum(mean[g]) * part); });
  each<n>([&](int g) {
    Floats squares = {};
    each_vector(H, [&](int64_t column, auto lanes) {
      const Floats centred = only_first(load(x + g * P + column) - mean[g], lanes);
      squares = squares + centred * centred;
    });
    scale[g] = squares;
  });
  each<n>([&](int g) {
    scales[g] = 1.0f / std::sqrt(sum(scale[g]) * part + kNormEpsilon);
    scale[g] = splat(scales[g]);
  });
  each<n>([&](int g) {
    each_vector(H, [&](int64_t column, auto lanes) {
      float* place = x + g * P + column;
      const Floats normalized = only_first((load(place) - mean[g]) * scale[g], lanes);
      store(place, normalized);
      if (kept != nullptr) {
        keeper->store(kept + g * P + column, normalized);
      }
    });
    for (int64_t column = first_padding(s); kept != nullptr && column < P; column += kLanes) {
      keeper->store(kept + g * P + column, splat(0.0f));
    }
  });
}

// What the way back through the norm of one row's gate needs; arrays are [P] unless they say otherwise.
struct NormBack {
  const float* gradient;  // of gain * normalized + bias
  const float* normalized;
  const float* gain;  // [H]
  float scale;
  float* result;     // perhaps the memory of the gradient or of normalized
  float* gain_sums;  // gain's gradients of the rows before, added to; nullptr: not wanted
  float* bias_sums;  // likewise
};

// Sums over the units of d and d * normalized, d being the gradient of normalized.
struct NormBackSums {
  Floats total, product;
};

template <bool adds>
GRUNLOCK_INLINE NormBackSums norm_back_sums(const NormBack gate, int64_t H) {
  NormBackSums sums = {};
  each_vector(H, [&](int64_t column, auto lanes) {
    const Floats gradient = load(gate.gradient + column);
    const Floats normalized = load(gate.normalized + column);
    const Floats d = gradient * load_only(gate.gain + column, lanes);
    sums.total = sums.total + d;
    sums.product = sums.product + d * normalized;
    if constexpr (adds) {
      store(gate.gain_sums + column, load(gate.gain_sums + column) + gradient * normalized);
      store(gate.bias_sums + column, load(gate.bias_sums + column) + gradient);
    }
  });
  return sums;
}

// From the gradients of gain * normalized + bias to those of the values before the norm, for gates of one row.
template <int n>
void normalize_back(const NormBack (&gates)[n], const Shape& s) {
  const int64_t H = s.H, P = s.P;
  const float part = 1.0f / static_cast<float>(H);
  NormBackSums sums[n];
  if (gates[0].gain_sums == nullptr) {
    each<n>([&](int g) { sums[g] = norm_back_sums<false>(gates[g], H); });
  } else {
    each<n>([&](int g) { sums[g] = norm_back_sums<true>(gates[g], H); });
  }
  each<n>([&](int g) { sums[g] = {splat(sum(sums[g].total) * part), splat(sum(sums[g].product) * part)}; });
  each<n>([&](int g) {
    const NormBack gate = gates[g];
    const Floats mean = sums[g].total, slope = sums[g].product, scale = splat(gate.scale);
    each_vector(H, [&](int64_t column, auto lanes) {
      const Floats d = load(gate.gradient + column) * load_only(gate.gain + column, lanes);
      const Floats around = d - mean - load(gate.normalized + column) * slope;
      store(gate.result + column, only_first(around * scale, lanes));
    });
    for (int64_t column = first_padding(s); column < P; column += kLanes) {
      store(gate.result + column, splat(0.0f));
    }
  });
}

}  // namespace grunlock::GRUNLOCK_ISA
