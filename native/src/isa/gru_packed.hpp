// A GRU direction's weights as the fused forward reads them.
#pragma once

#include "quantize.hpp"

namespace grunlock::GRUNLOCK_ISA {

// What one direction reads in every step, as pack_direction lays it out.
struct PackedDirection {
  const float* biases;     // [tiles][4] vectors: reset and update (both sides summed), candidate input, candidate state
  const float* recurrent;  // gate panels of weight_hh
  const float* input;      // gate panels of weight_ih
  Scales recurrent_scales, input_scales;

  template <class Operand>
  static int64_t size(const Shape& s) {
    return 4 * s.P + 3 * s.P * (words<Operand>(s.H) + words<Operand>(s.D)) + 2 * Scales::size<Operand>(s);
  }

  template <class Operand>
  static PackedDirection at(const float* data, const Shape& s, bool unpacked = false) {
    if (unpacked) {
      return {data, nullptr, nullptr, {}, {}};
    }
    const float* recurrent = data + 4 * s.P;
    const float* input = recurrent + 3 * s.P * words<Operand>(s.H);
    const float* scales = input + 3 * s.P * words<Operand>(s.D);
    return {data, recurrent, input, Scales::at(scales, s), Scales::at(scales + Scales::size<Operand>(s), s)};
  }
};

// Tiles [begin, end) of one direction, into memory laid out as PackedDirection::at.
template <class Operand>
void pack_direction(const Direction& d, const Shape& s, int64_t begin, int64_t end, float* data,
                    bool biases_only = false) {
  float* recurrent = data + 4 * s.P;
  float* input = recurrent + 3 * s.P * words<Operand>(s.H);
  float* scales = input + 3 * s.P * words<Operand>(s.D);
  for (int64_t tile = begin; tile < end; ++tile) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t unit = tile * kLanes + lane;
      float* biases = data + tile * 4 * kLanes + lane;
      biases[0] = bias_of(d.bias_ih, s.H, 0, unit) + bias_of(d.bias_hh, s.H, 0, unit);
      biases[kLanes] = bias_of(d.bias_ih, s.H, 1, unit) + bias_of(d.bias_hh, s.H, 1, unit);
      biases[2 * kLanes] = bias_of(d.bias_ih, s.H, 2, unit);
      biases[3 * kLanes] = bias_of(d.bias_hh, s.H, 2, unit);
    }
    if (biases_only) {
      continue;
    }
    if constexpr (Operand::kPerWord == Int8::kPerWord) {
      quantize_gate_panel(d.weight_hh, s, s.H, tile, 1.0f / kStateLevels, recurrent, scales);
      quantize_gate_panel(d.weight_ih, s, s.D, tile, 1.0f, input, scales + Scales::size<Operand>(s));
    } else {
      pack_gate_panel<Operand>(d.weight_hh, s.H, s.H, tile, recurrent);
      pack_gate_panel<Operand>(d.weight_ih, s.H, s.D, tile, input);
    }
  }
}

// Gate panels [begin, end) of one of a direction's weights, packed or, for few rows, as the caller holds it.
template <class Operand>
struct GateWeight {
  const float* panels;
  const float* unpacked;  // [3H, size], used if there are no panels
  int64_t hidden_size;
  int64_t size;

  void multiply(int64_t num_rows, const float* a, int64_t stride, int64_t begin, int64_t end, float* c,
                int64_t c_stride, int64_t c_panel_stride) const {
    if constexpr (Operand::kPerWord == 1) {
      for (int64_t tile = begin; panels == nullptr && tile < end; ++tile) {
        multiply_gates_unpacked(num_rows, a, stride, unpacked, hidden_size, size, tile,
                                c + (tile - begin) * c_panel_stride, c_stride);
      }
    }
    if (panels != nullptr) {
      multiply_gates<Operand>(num_rows, a, stride, panels, words<Operand>(size), begin, end, c, c_stride,
                              c_panel_stride);
    }
  }
};

// A direction's weights as the forward reads them, to be given as `packed`; not for general layers.
inline int64_t gru_packed_floats(const Call& call) {
  const Shape s(call);
  switch (call.precision) {
    case GRUNLOCK_BFLOAT16:
      return PackedDirection::size<Bfloat16>(s);
    case GRUNLOCK_INT8:
      return PackedDirection::size<Int8>(s);
    default:
      return PackedDirection::size<Float32>(s);
  }
}

inline void gru_pack(const Call& call, int64_t direction, float* packed) {
  const Shape s(call);
  const Direction& d = call.directions[direction];
  switch (call.precision) {
    case GRUNLOCK_BFLOAT16:
      return pack_direction<Bfloat16>(d, s, 0, s.tiles, packed);
    case GRUNLOCK_INT8:
      return pack_direction<Int8>(d, s, 0, s.tiles, packed);
    default:
      return pack_direction<Float32>(d, s, 0, s.tiles, packed);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
