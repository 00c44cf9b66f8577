// The GRU forward where a gate needs whole rows before it can be finished: layer norm in the cell, or the reset gate in
// front of the product. Products of a step go to memory, then rows are finished one by one. What surrounds the steps
// serves the LSTM too.
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
  static int64_t recurrent_stride(const Shape& s) { return 2 * s.gates * s.P + GRUNLOCK_ROW_PAD; }
  static int64_t input_stride(const Shape& s) { return s.gates * s.P + GRUNLOCK_ROW_PAD; }
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
    for (int64_t i = 0; d.norm_weight_ih != nullptr && i < rows; ++i) {
      for (int64_t gate = 0; gate < s.gates; ++gate) {
        float* row = target + i * table.stride;
        row[table.scales + gate] = normalize_units(row + table.offsets[gate], s);
      }
    }
  }
}

// The norm of one gate's product in packed row n, kept for the way back.
inline void normalize_product(const Direction& d, const Shape& s, int64_t n, int64_t gate, float* product) {
  const float scale = normalize_units(product, s);
  if (d.saved_norm != nullptr) {
    float* row = d.saved_norm + n * NormRows::recurrent_stride(s);
    std::memcpy(row + gate * s.P, product, static_cast<size_t>(s.P) * sizeof(float));
    row[2 * s.gates * s.P + gate] = scale;
  }
}

// A product's part of a gate: gain, if there is one, and bias.
GRUNLOCK_INLINE Floats gate_part(Floats product, const float* gain, const float* bias, int64_t gate, int64_t column,
                                 int64_t hidden_size) {
  const int64_t unit = gate * hidden_size + column;
  const int64_t left = hidden_size - column;
  product = gain == nullptr ? product : product * load_first(gain + unit, left);
  return bias == nullptr ? product : product + load_first(bias + unit, left);
}

template <class OperandType>
class GeneralForwardUnit {
 public:
  using Operand = OperandType;
  using LayerCall = Call;
  static constexpr int64_t kGates = 3;

  static const Call& layer_of(const Call& call) { return call; }

  // shared: shared_size floats, zeroed.
  GeneralForwardUnit(const Call& call, const Shape& shape, int64_t direction, Block block, const UnitPanels& panels,
                     const GatesTable& table, float* shared)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        reverse_(direction == 1),
        output_(call.output + direction * shape.H),
        block_(block),
        panels_(panels),
        table_(table),
        zoneout_(call.directions[direction], shape.H) {
    const int64_t size = block.rows(shape.B) * shape.P;
    states_ = shared;
    operands_ = states_ + size;
    reset_operands_ = operands_ + size;
    products_ = reset_operands_ + size;
  }

  static int64_t shared_size(const Shape& s, int64_t rows) { return rows * 6 * s.P; }

  void run(Team& team) {
    start_states(Share(block_.rows(s_.B), team.rank(), team.size()));
    team.barrier();
    const int64_t offsets[kGates] = {0, s_.P, 2 * s_.P};
    const int64_t at_first = call_.reset_after ? 3 : 2;
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = reverse_ ? s_.T - 1 - step : step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      multiply_units<Operand>(panels_, 0, at_first, rows, operands_, operand_stride(), team.rank(), team.size(),
                              offsets, products_, 3 * s_.P);
      team.barrier();
      for (int64_t i = share.begin; i < share.end; ++i) {
        gates(t, i);
        if (call_.reset_after) {
          finish(t, i);
        }
      }
      team.barrier();
      if (!call_.reset_after) {
        multiply_units<Operand>(panels_, 2, 3, rows, reset_operands_, operand_stride(), team.rank(), team.size(),
                                offsets, products_, 3 * s_.P);
        team.barrier();
        for (int64_t i = share.begin; i < share.end; ++i) {
          finish(t, i);
        }
        team.barrier();
      }
    }
  }

 private:
  int64_t operand_stride() const { return s_.P / Operand::kPerWord; }
  int64_t row_of(int64_t t, int64_t i) const { return s_.start(t) + block_.sequence(i); }

  Floats masked(Floats h, int64_t i, int64_t column) const {
    const float* mask = d_.state_mask == nullptr ? nullptr : d_.state_mask + block_.sequence(i) * s_.H;
    return mask == nullptr ? h : h * load_first(mask + column, s_.H - column);
  }

  // x_g: the input's part of a gate, bias included.
  Floats input(const float* row, int64_t gate, int64_t column) const {
    return gate_part(load(row + table_.offsets[gate] + column), d_.norm_weight_ih, d_.bias_ih, gate, column, s_.H);
  }

  // a_g: the state's part.
  Floats recurrent(int64_t i, int64_t gate, int64_t column) const {
    const Floats product = load(products_ + i * 3 * s_.P + gate * s_.P + column);
    return gate_part(product, d_.norm_weight_hh, d_.bias_hh, gate, column, s_.H);
  }

  void start_states(const Share& share) {
    for (int64_t i = share.begin; i < share.end; ++i) {
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        const int64_t first = block_.sequence(i) * s_.H + column;
        const Floats h = d_.h0 == nullptr ? splat(0.0f) : load_first(d_.h0 + first, s_.H - column);
        store(states_ + i * s_.P + column, h);
        store_operand<Operand>(operands_ + i * operand_stride(), column, masked(h, i, column));
      }
    }
  }

  void normalize(int64_t t, int64_t i, int64_t gate) {
    normalize_product(d_, s_, row_of(t, i), gate, products_ + (i * 3 + gate) * s_.P);
  }

  // Reset and update; the products' row then holds r and z. Without reset_after, r * h as the next operand.
  void gates(int64_t t, int64_t i) {
    const int64_t at_first = call_.reset_after ? 3 : 2;
    for (int64_t gate = 0; d_.norm_weight_hh != nullptr && gate < at_first; ++gate) {
      normalize(t, i, gate);
    }
    const float* x = table_.row(row_of(t, i));
    float* product = products_ + i * 3 * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      const Floats r = sigmoid(input(x, 0, column) + recurrent(i, 0, column));
      const Floats z = sigmoid(input(x, 1, column) + recurrent(i, 1, column));
      store(product + column, r);
      store(product + s_.P + column, z);
      if (!call_.reset_after) {
        const Floats q = r * masked(load(states_ + i * s_.P + column), i, column);
        store_operand<Operand>(reset_operands_ + i * operand_stride(), column, q);
        // The last slot holds no input gate, so it may be written while others are still to be read.
        if (d_.saved != nullptr) {
          store(d_.saved + (row_of(t, i) * 4 + 3) * s_.P + column, q);
        }
      }
    }
  }

  void finish(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    if (!call_.reset_after && d_.norm_weight_hh != nullptr) {
      normalize(t, i, 2);
    }
    const uint32_t key = zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(n) : 0;
    const float* x = table_.row(n);
    const float* gates = products_ + i * 3 * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      const Floats r = load(gates + column);
      const Floats z = load(gates + s_.P + column);
      const Floats a_n = recurrent(i, 2, column);
      const Floats candidate = tanh(input(x, 2, column) + (call_.reset_after ? r * a_n : a_n));
      const Floats h_prev = load(states_ + i * s_.P + column);
      Floats h = candidate + z * (h_prev - candidate);
      if (zoneout_.kind != GRUNLOCK_ZONEOUT_OFF) {
        h = h + zoneout_.keep(n, key, column) * (h_prev - h);
      }
      if (d_.saved != nullptr) {
        float* saved = d_.saved + n * 4 * s_.P + column;
        store(saved, candidate);
        store(saved + s_.P, r);
        store(saved + 2 * s_.P, z);
        if (call_.reset_after) {
          store(saved + 3 * s_.P, a_n);
        }
      }
      store_first(output_ + n * s_.output_stride + column, h, s_.H - column);
      store(states_ + i * s_.P + column, h);
      store_operand<Operand>(operands_ + i * operand_stride(), column, masked(h, i, column));
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  bool reverse_;
  float* output_;
  Block block_;
  UnitPanels panels_;
  GatesTable table_;
  Zoneout zoneout_;
  float* states_;          // [rows, P]
  float* operands_;        // [rows, P] masked
  float* reset_operands_;  // [rows, P] r * masked
  float* products_;        // [rows, 3P]; r and z replace theirs
};

// A general layer's forward: tables of input gates first, then units in time.
template <class Unit>
class GeneralForward {
  using Operand = typename Unit::Operand;
  using LayerCall = typename Unit::LayerCall;

 public:
  explicit GeneralForward(const LayerCall& whole)
      : whole_(whole), call_(Unit::layer_of(whole)), s_(call_, Unit::kGates), sequences_(s_.N) {
    for (int64_t t = 0; t < s_.T; ++t) {
      for (int64_t b = 0; b < s_.active(t); ++b) {
        sequences_[s_.start(t) + b] = static_cast<int32_t>(b);
      }
    }
  }

  void run() {
    const int64_t recurrent = s_.gates * s_.P * words<Operand>(s_.H);
    const int64_t input = s_.gates * s_.P * words<Operand>(s_.D);
    const int64_t shared = Unit::shared_size(s_, s_.B);
    int64_t tables[GRUNLOCK_MAX_DIRECTIONS] = {};
    int64_t total = 0;
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const GatesTable table = gates_table(call_, s_, call_.directions[i], nullptr);
      tables[i] = table.data == nullptr ? table_rows(s_, table) * table.stride : 0;
      total += Pieces::size(recurrent) + Pieces::size(input) + Pieces::size(shared) + Pieces::size(tables[i]);
    }
    Pieces pieces(call_scratch(total));
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      recurrent_[i] = pieces.take(recurrent);
      input_[i] = pieces.take(input);
      shared_[i] = pieces.take(shared);
      tables_[i] = gates_table(call_, s_, call_.directions[i], pieces.take(tables[i]));
      std::fill(shared_[i], shared_[i] + shared, 0.0f);
    }
    run_team(wanted_threads(call_, s_.gates), [this](Team& team) { body(team); });
  }

 private:
  UnitPanels recurrent_panels(int64_t i) const { return {recurrent_[i], words<Operand>(s_.H), s_.tiles}; }
  UnitPanels input_panels(int64_t i) const { return {input_[i], words<Operand>(s_.D), s_.tiles}; }

  void body(Team& team) {
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const UnitPanels recurrent = recurrent_panels(i);
      const UnitPanels input = input_panels(i);
      const Direction& d = call_.directions[i];
      for (int64_t job = team.rank(); job < s_.gates * recurrent.per_gate(); job += team.size()) {
        const int64_t gate = job / recurrent.per_gate();
        const int64_t panel = job % recurrent.per_gate();
        pack_unit_panel<Operand>(d.weight_hh, s_, s_.H, gate, panel, const_cast<float*>(recurrent.at(gate, panel)));
        pack_unit_panel<Operand>(d.weight_ih, s_, s_.D, gate, panel, const_cast<float*>(input.at(gate, panel)));
      }
    }
    team.barrier();
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const Share share(table_rows(s_, tables_[i]), team.rank(), team.size());
      fill_gates_table<Operand>(call_, s_, call_.directions[i], input_panels(i), &sequences_[0], share, tables_[i]);
    }
    team.barrier();
    const int64_t weight_floats = s_.gates * s_.H * s_.H / Operand::kPerWord;
    for_each_unit(s_, call_.num_directions, weight_floats, team, arrived_, [this](int64_t i, Block block, int64_t before,
                                                                                  Team& members) {
      float* shared = shared_[i] + Unit::shared_size(s_, before);
      Unit(whole_, s_, i, block, recurrent_panels(i), tables_[i], shared).run(members);
    });
    team.barrier();
    for (int64_t i = team.rank(); i < call_.num_directions; i += team.size()) {
      copy_final(call_, s_, i);
    }
  }

  const LayerCall& whole_;
  const Call& call_;
  Shape s_;
  Array<int32_t> sequences_;  // [N]
  float* recurrent_[GRUNLOCK_MAX_DIRECTIONS];
  float* input_[GRUNLOCK_MAX_DIRECTIONS];
  float* shared_[GRUNLOCK_MAX_DIRECTIONS];
  GatesTable tables_[GRUNLOCK_MAX_DIRECTIONS];
  std::atomic<int64_t> arrived_[GRUNLOCK_MAX_THREADS] = {};
};

}  // namespace grunlock::GRUNLOCK_ISA
