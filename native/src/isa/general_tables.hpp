// What layers need whose gates are finished row by row: panels of units, norms of products, gains and biases.
#pragma once

#include "norm.hpp"

namespace grunlock::GRUNLOCK_ISA {

// A GRU with norms and reset_after keeps nothing else: its gates are computed again on the way back, which takes less time
// than four more rows of memory traffic.
inline bool keeps_norms_only(const Call& call) {
  return call.reset_after != 0 && call.directions[0].norm_weight_hh != nullptr;
}

// What a direction's saved_norm holds: rows of states, then of inputs, each with its scales behind it. Gates of states lie
// in their own order, those of inputs as their gradients in `saved` do.
struct NormRows {
  static int64_t stride(const Shape& s) { return s.gates * s.P + GRUNLOCK_ROW_PAD; }

  static float* state(const Direction& d, const Shape& s, int64_t row) { return d.saved_norm + row * stride(s); }
  static float* input(const Direction& d, const Shape& s, int64_t row) { return state(d, s, s.N + row); }

  // Of one packed row, in all.
  static int64_t kept_floats(const Shape& s, const Direction& d) {
    return d.saved_norm == nullptr ? 0 : 2 * stride(s);
  }
};

// Whether input gates are normalised once per distinct vector.
inline bool normalizes_vectors(const Call& call) {
  return call.directions[0].norm_weight_ih != nullptr && call.index != nullptr && call.input_mask == nullptr;
}

// Gradients of gains and biases, summed over the steps of each sequence apart, so that no sum depends on how sequences are
// divided among threads.
struct NormSums {
  enum Kind { kStateGain, kStateBias, kInputGain, kInputBias, kKinds };

  static int64_t size(const Shape& s) { return s.B * kKinds * s.gates * s.P; }

  float* at(const Shape& s, int64_t sequence, Kind kind) const {
    return data + (sequence * kKinds + kind) * s.gates * s.P;
  }

  float* data;
};

// A weight [gH, size] in panels of neighbouring units of one gate: gate after gate.
struct UnitPanels {
  const float* data;
  int64_t num_words;
  int64_t tiles;

  int64_t per_gate() const { return (tiles + kPanelVectors - 1) / kPanelVectors; }
  const float* at(int64_t gate, int64_t panel) const {
    return data + (gate * tiles + panel * kPanelVectors) * kLanes * num_words;
  }
};

template <class Operand>
void pack_unit_panel(const float* weight, const Shape& s, int64_t size, int64_t gate, int64_t panel, float* target) {
  const int vectors = panel_vectors(panel, s.tiles);
  for (int v = 0; v < vectors; ++v) {
    const float* rows[kLanes];
    unit_rows(weight, s.H, size, gate, (panel * kPanelVectors + v) * kLanes, rows);
    pack_vector<Operand>(rows, size, target + v * kLanes, vectors * kLanes);
  }
}

// All rows against gates [first, last), shared out by panels. offsets: of each gate in a row of c.
template <class Operand>
void multiply_units(const UnitPanels& panels, int64_t first, int64_t last, int64_t rows, const float* operands,
                    int64_t stride, int rank, int size, const int64_t* offsets, float* c, int64_t c_stride) {
  const Share share((last - first) * panels.per_gate(), rank, size);
  for (int64_t job = share.begin; job < share.end; ++job) {
    const int64_t gate = first + job / panels.per_gate();
    const int64_t panel = job % panels.per_gate();
    multiply_long_panel<Operand, Order::kRowMajor>(panel_vectors(panel, panels.tiles), rows, operands, stride,
                                                   panels.at(gate, panel), panels.num_words,
                                                   c + offsets[gate] + panel * kPanelVectors * kLanes, c_stride, false);
  }
}

// The norms of n gates' products, from `gate` on, of rows [begin, end) of a block; products: of row 0, [gates][P]. Kept for
// the way back if there is one.
template <int n, class RowOf>
void normalize_products(const Direction& d, const Shape& s, const Keeper& keeper, const Share& share, int64_t gate,
                        float* products, const RowOf& row_of) {
  for (int64_t i = share.begin; i < share.end; ++i) {
    float* x = products + (i * s.gates + gate) * s.P;
    if (d.saved_norm == nullptr) {
      float unused[n];
      normalize_gates<n>(x, s, unused);
    } else {
      float* kept = NormRows::state(d, s, row_of(i));
      normalize_gates<n>(x, s, kept + s.gates * s.P + gate, &keeper, kept + gate * s.P);
    }
  }
}

// Gains and biases of one direction, all gates, padded: [gates][P] each.
struct GateTerms {
  const float* gain;  // nullptr without norms
  const float* bias;

  static int64_t size(const Shape& s) { return 2 * s.gates * s.P; }

  // Copies of the caller's arrays [gates][H], either of which may be nullptr.
  static GateTerms copy(const float* gain, const float* bias, const Shape& s, float* memory) {
    float* biases = memory + s.gates * s.P;
    for (int64_t gate = 0; gate < s.gates; ++gate) {
      for (int64_t column = 0; column < s.P; column += kLanes) {
        const int64_t unit = gate * s.H + column;
        const int64_t left = std::max<int64_t>(s.H - column, 0);
        store(memory + gate * s.P + column, gain == nullptr ? splat(0.0f) : load_first(gain + unit, left));
        store(biases + gate * s.P + column, bias == nullptr ? splat(0.0f) : load_first(bias + unit, left));
      }
    }
    return {gain == nullptr ? nullptr : memory, biases};
  }

  // A product's part of a gate; place: gate * P + column.
  GRUNLOCK_INLINE Floats part(Floats product, int64_t place) const {
    return (gain == nullptr ? product : product * load(gain + place)) + load(bias + place);
  }
};

// Gains and biases of both parts of every gate.
struct PartTerms {
  static int64_t size(const Shape& s) { return 2 * GateTerms::size(s); }

  static PartTerms copy(const Direction& d, const Shape& s, float* memory) {
    return {GateTerms::copy(d.norm_weight_ih, d.bias_ih, s, memory),
            GateTerms::copy(d.norm_weight_hh, d.bias_hh, s, memory + GateTerms::size(s))};
  }

  GateTerms input, state;
};

}  // namespace grunlock::GRUNLOCK_ISA
