// What layers need whose gates are finished row by row: tables of input gates, panels of units, norms of products.
#pragma once

#include "norm.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Input gates of every vector (or, with an input mask, of every packed row). With layer norm they are normalised, their
// gain still to come.
struct GatesTable {
  float* data;
  int64_t stride;      // floats from row to row
  int64_t offsets[4];  // of each gate in a row
  int64_t scales;      // of the gates' norm scales in a row
  const int64_t* index;

  float* row(int64_t n) const { return data + (index == nullptr ? n : index[n]) * stride; }
};

struct NormRows {  // what a direction's saved_norm holds
  static int64_t recurrent_stride(const Shape& s) { return s.gates * s.P + GRUNLOCK_ROW_PAD; }
  static int64_t input_stride(const Shape& s) { return s.gates * s.P + GRUNLOCK_ROW_PAD; }

  // Of one packed row, in all.
  static int64_t kept_floats(const Shape& s, const Direction& d) {
    return d.saved_norm == nullptr ? 0 : recurrent_stride(s) + input_stride(s);
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

inline GatesTable gates_table(const Call& call, const Shape& s, const Direction& d, float* scratch) {
  const int64_t* index = call.input_mask == nullptr ? call.index : nullptr;
  if (d.norm_weight_ih != nullptr) {
    float* data = d.saved_norm == nullptr ? scratch : d.saved_norm + s.N * NormRows::recurrent_stride(s);
    return {data, NormRows::input_stride(s), {0, s.P, 2 * s.P, 3 * s.P}, s.gates * s.P, index};
  }
  if (d.saved != nullptr) {  // where a GRU's activations will replace them: see Slot
    return {d.saved, 4 * s.P, {s.P, 2 * s.P, 0, 0}, 0, nullptr};
  }
  return {scratch, 3 * s.P, {0, s.P, 2 * s.P, 0}, 0, index};
}

inline int64_t table_rows(const Shape& s, const GatesTable& table) { return table.index == nullptr ? s.N : s.U; }

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

template <int n>
void normalize_table(const Shape& s, const GatesTable& table, float* target, int64_t rows) {
  in_pairs(0, rows, [&](auto count, int64_t first) {
    NormRow row[count.value];
    for (int j = 0; j < count.value; ++j) {
      float* x = target + (first + j) * table.stride;
      row[j] = {x, nullptr, x + table.scales};
    }
    normalize_gates<n, count.value>(row, s, nullptr);
  });
}

template <class Operand>
void fill_gates_table(const Call& call, const Shape& s, const Direction& d, const UnitPanels& panels,
                      const int32_t* sequences, const Share& share, const GatesTable& table) {
  const int64_t stride = round_up(s.D, GRUNLOCK_ROW_PAD) / Operand::kPerWord;
  float* operands = thread_scratch(kChunkRows * stride);
  for (int64_t first = share.begin; first < share.end; first += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, share.end - first);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t v = first + i;
      const float* mask = call.input_mask == nullptr ? nullptr : call.input_mask + sequences[v] * s.D;
      const float* x = table.index != nullptr ? call.rows + v * s.D : input_row(call, v);
      copy_operands<Operand>(x, mask, s.D, operands + i * stride);
    }
    float* target = table.data + first * table.stride;
    multiply_units<Operand>(panels, 0, s.gates, rows, operands, stride, 0, 1, table.offsets, target, table.stride);
    if (d.norm_weight_ih != nullptr) {
      s.gates == 3 ? normalize_table<3>(s, table, target, rows) : normalize_table<4>(s, table, target, rows);
    }
  }
}

// The norms of n gates' products, from `gate` on, of rows [begin, end) of a block; products: of row 0, [gates][P]. Kept for
// the way back if there is one.
template <int n, class RowOf>
void normalize_products(const Direction& d, const Shape& s, const Keeper& keeper, const Share& share, int64_t gate,
                        float* products, const RowOf& row_of) {
  in_pairs(share.begin, share.end, [&](auto count, int64_t first) {
    float unused[count.value * n];
    NormRow row[count.value];
    for (int j = 0; j < count.value; ++j) {
      float* x = products + ((first + j) * s.gates + gate) * s.P;
      float* kept = d.saved_norm == nullptr ? nullptr : d.saved_norm + row_of(first + j) * NormRows::recurrent_stride(s);
      row[j] = {x, nullptr, unused + j * n};
      if (kept != nullptr) {
        row[j] = {x, kept + gate * s.P, kept + s.gates * s.P + gate};
      }
    }
    normalize_gates<n, count.value>(row, s, &keeper);
  });
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

// What a direction of a general layer reads in every step.
struct GeneralWeights {
  UnitPanels panels;      // of weight_hh
  GatesTable table;       // input gates
  GateTerms input, state;
};

}  // namespace grunlock::GRUNLOCK_ISA
