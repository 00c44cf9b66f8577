// A step of one sequence that nobody learns from: no masks, nothing saved. All there is to do is to read the weights, so
// everything else is kept short.
#pragma once

#include "gru_packed.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Where a step of one sequence reads and writes. Rows are [P], `input_gates` begins at the first tile wanted.
struct RowPlaces {
  const float* operand;  // the state as the product reads it
  const float* previous;
  const float* input_gates;
  float* products;  // room for the gates of row_panels tiles
  float* next;
  float* next_operand;  // the same memory as `next` for float32
  float* output;        // [H]
};

template <class Operand>
class RowStep {
 public:
  RowStep(const PackedDirection& packed, const GateWeight<Operand>& weight, const Share& tiles)
      : packed_(packed),
        weight_(weight),
        tiles_(tiles),
        group_(row_panels(words<Operand>(weight.hidden_size) * kTile)) {}

  // backwards: through the tiles from the last one on, so that a step begins with the panels that the step before has left
  // in the level 1 cache.
  void run(const RowPlaces& at, bool backwards) const {
    const int64_t num_groups = (tiles_.end - tiles_.begin + group_ - 1) / group_;
    for (int64_t g = 0; g < num_groups; ++g) {
      const int64_t first = tiles_.begin + (backwards ? num_groups - 1 - g : g) * group_;
      const int64_t end = std::min(first + group_, tiles_.end);
      weight_.multiply(1, at.operand, 0, first, end, at.products, 0, kTile);
      int64_t tile = first;
      for (; tile + kAtOnce <= end; tile += kAtOnce) {
        finish<kAtOnce>(at, tile, at.products + (tile - first) * kTile);
      }
      for (; tile < end; ++tile) {
        finish<1>(at, tile, at.products + (tile - first) * kTile);
      }
    }
  }

 private:
  static constexpr int64_t kTile = kGateVectors * kLanes;  // floats of a tile's gates

  GRUNLOCK_INLINE Floats product(const float* products, int64_t tile, int64_t j, int gate) const {
    const int64_t place = ((tile + j) * kGateVectors + gate) * kLanes;
    return settled<Operand>(load(products + j * kTile + gate * kLanes), packed_.recurrent_scales, place, 1.0f);
  }

  // Equations (2) to (5) for n tiles.
  template <int n>
  GRUNLOCK_INLINE void finish(const RowPlaces& at, int64_t tile, const float* products) const {
    const float* x = at.input_gates + (tile - tiles_.begin) * kTile;
    const float* biases = packed_.biases + tile * 4 * kLanes;
    const auto input = [&](int j, int gate) { return load(x + j * kTile + gate * kLanes); };
    const auto bias = [&](int j, int which) { return load(biases + (4 * j + which) * kLanes); };
    Floats r[n], z[n], a_n[n], candidate[n];
    each<n>([&](int j) { r[j] = input(j, 0) + product(products, tile, j, 0) + bias(j, 0); });
    each<n>([&](int j) { z[j] = input(j, 1) + product(products, tile, j, 1) + bias(j, 1); });
    sigmoid<n>(r);
    each<n>([&](int j) { a_n[j] = product(products, tile, j, 2) + bias(j, 3); });
    each<n>([&](int j) { candidate[j] = input(j, 2) + bias(j, 2) + r[j] * a_n[j]; });
    sigmoid<n>(z);
    tanh<n>(candidate);
    each<n>([&](int j) {
      const int64_t column = (tile + j) * kLanes;
      const Floats h = candidate[j] + z[j] * (load(at.previous + column) - candidate[j]);
      if constexpr (Operand::kPerWord > 1) {
        store_operand<Operand>(at.next_operand, column, h);
      }
      store(at.next + column, h);
      store_first(at.output + column, h, weight_.hidden_size - column);
    });
  }

  const PackedDirection& packed_;
  GateWeight<Operand> weight_;
  Share tiles_;
  int64_t group_;
};

}  // namespace grunlock::GRUNLOCK_ISA
