// Layer norm of one gate's units in one row, without its gain (Ba 2016), and its gradient.
#pragma once

#include <cmath>

#include "layout.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr float kNormEpsilon = 1e-5f;  // grunlock.kernels.NORM_EPS

// x[H] in place to (x - mean) / sqrt(var + eps), zero in the padding. Returns 1 / sqrt(var + eps).
inline float normalize_units(float* x, const Shape& s) {
  Floats total = splat(0.0f);
  for (int64_t column = 0; column < s.P; column += kLanes) {
    total = total + load_first(x + column, s.H - column);
  }
  const float mean = sum(total) / static_cast<float>(s.H);
  Floats squares = splat(0.0f);
  for (int64_t column = 0; column < s.H; column += kLanes) {
    const Floats centred = load(x + column) - mean;
    store(x + column, centred);
    const Floats real = load_first(x + column, s.H - column);
    squares = squares + real * real;
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(s.H) + kNormEpsilon);
  for (int64_t column = 0; column < s.P; column += kLanes) {
    store(x + column, load_first(x + column, s.H - column) * scale);
  }
  return scale;
}

// From the gradient of gain * normalized to that of the values before the norm. gain: [H]; all others padded.
inline void normalize_back(const float* gradient, const float* normalized, const float* gain, float scale,
                           const Shape& s, float* result) {
  Floats total = splat(0.0f);
  Floats product = splat(0.0f);
  for (int64_t column = 0; column < s.P; column += kLanes) {
    const Floats d = load(gradient + column) * load_first(gain + column, s.H - column);
    total = total + d;
    product = product + d * load(normalized + column);
  }
  const float mean = sum(total) / static_cast<float>(s.H);
  const float slope = sum(product) / static_cast<float>(s.H);
  for (int64_t column = 0; column < s.P; column += kLanes) {
    const Floats d = load(gradient + column) * load_first(gain + column, s.H - column);
    const Floats back = (d - mean - load(normalized + column) * slope) * scale;
    const Floats kept = load_first(reinterpret_cast<const float*>(&back), s.H - column);
    store(result + column, kept);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
