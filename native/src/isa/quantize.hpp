// int8 products: one scale per row of a weight, one per row of inputs; states lie in [-1, 1] and need none.
//
// Operands are unsigned bytes, value + 128, because that is what the instructions multiply with signed weights; what the
// 128 adds to a sum is known beforehand and taken off again.
#pragma once

#include <cmath>

#include "layout.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr float kStateLevels = 127.0f;
constexpr int32_t kOperandShift = 128;

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

// v in [-127, 127], rounded to nearest, as operands.
GRUNLOCK_INLINE Bytes to_bytes(Floats v) {
  const Floats kRound = splat(12582912.0f);  // 1.5 * 2^23
  const Floats low = splat(-kStateLevels);
  const Floats high = splat(kStateLevels);
  v = v < low ? low : v;
  v = v > high ? high : v;
  const Ints rounded = as_ints(v + kRound) - as_ints(kRound) + kOperandShift;
  return __builtin_convertvector(rounded, Bytes);
}

GRUNLOCK_INLINE void store_bytes(float* row, int64_t column, Bytes bytes) {
  std::memcpy(reinterpret_cast<char*>(row) + column, &bytes, sizeof bytes);
}

template <>
GRUNLOCK_INLINE void store_operand<Int8>(float* row, int64_t column, Floats v) {
  store_bytes(row, column, to_bytes(v * kStateLevels));
}

// Inputs have no known range: each row gets its own scale.
template <>
inline float copy_operands<Int8>(const float* x, const float* mask, int64_t count, float* row) {
  Floats most = splat(0.0f);
  for (int64_t column = 0; column < count; column += kLanes) {
    Floats v = absolute(load_first(x + column, count - column));
    if (mask != nullptr) {
      v = v * load_first(mask + column, count - column);
    }
    most = v > most ? v : most;
  }
  float largest = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) {
    largest = most[lane] > largest ? most[lane] : largest;
  }
  const float factor = largest > 0.0f ? kStateLevels / largest : 0.0f;
  for (int64_t column = 0; column < round_up(count, GRUNLOCK_ROW_PAD); column += kLanes) {
    Floats v = load_first(x + column, count - column);
    if (mask != nullptr) {
      v = v * load_first(mask + column, count - column);
    }
    store_bytes(row, column, to_bytes(v * factor));
  }
  return largest / kStateLevels;
}

// For each unit of each gate, tile by tile: what a sum is multiplied with, and what is taken off it before.
struct Scales {
  const float* factors;  // [tiles][3] vectors
  const float* shifts;   // [tiles][3] vectors of integers

  template <class Operand>
  static int64_t size(const Shape& s) {
    return Operand::kPerWord == Int8::kPerWord ? 2 * 3 * s.P : 0;
  }

  static Scales at(const float* data, const Shape& s) { return {data, data + 3 * s.P}; }
};

// Gate panel `tile` of weight [3H, size] in int8, with its part of the scales. unit: what an operand of 1 stands for.
inline void quantize_gate_panel(const float* weight, const Shape& s, int64_t size, int64_t tile, float unit,
                                float* panels, float* scales) {
  const int64_t num_words = words<Int8>(size);
  float* panel = panels + tile * num_words * kGateVectors * kLanes;
  for (int gate = 0; gate < 3; ++gate) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t row = tile * kLanes + lane;
      const float* values = weight + (gate * s.H + row) * size;
      const int64_t count = row < s.H ? size : 0;
      float largest = 0.0f;
      for (int64_t k = 0; k < count; ++k) {
        largest = std::max(largest, std::fabs(values[k]));
      }
      const float factor = largest > 0.0f ? 127.0f / largest : 0.0f;
      int32_t total = 0;
      for (int64_t word = 0; word < num_words; ++word) {
        int8_t bytes[4] = {};
        for (int64_t k = 4 * word; k < std::min(4 * word + 4, count); ++k) {
          bytes[k % 4] = static_cast<int8_t>(std::nearbyintf(values[k] * factor));
          total += bytes[k % 4];
        }
        std::memcpy(panel + (word * kGateVectors + gate) * kLanes + lane, bytes, sizeof bytes);
      }
      const int64_t place = (tile * 3 + gate) * kLanes + lane;
      const int32_t shift = total * kOperandShift;
      scales[place] = largest / 127.0f * unit;
      std::memcpy(scales + 3 * s.P + place, &shift, sizeof shift);
    }
  }
}

// What one vector of sums stands for; place: of its factors. Nothing to do for floats.
template <class Operand>
GRUNLOCK_INLINE Floats settled(Floats sums, const Scales& scales, int64_t place, float row_scale) {
  if constexpr (Operand::kPerWord == Int8::kPerWord) {
    const Ints shifted = as_ints(sums) - as_ints(load(scales.shifts + place));
    return __builtin_convertvector(shifted, Floats) * (load(scales.factors + place) * row_scale);
  } else {
    (void)scales, (void)place, (void)row_scale;
    return sums;
  }
}

// Sums of one row for tiles [begin, end), in place.
template <class Operand>
GRUNLOCK_INLINE void settle(float* sums, const Scales& scales, int64_t begin, int64_t end, float row_scale) {
  for (int64_t v = 0; Operand::kPerWord == Int8::kPerWord && v < (end - begin) * kGateVectors; ++v) {
    const int64_t place = (begin * kGateVectors + v) * kLanes;
    store(sums + v * kLanes, settled<Operand>(load(sums + v * kLanes), scales, place, row_scale));
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
