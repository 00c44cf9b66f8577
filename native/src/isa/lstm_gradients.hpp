// The LSTM backward in time, and what is its own in gradients.hpp.
#pragma once

#include "gradients.hpp"
#include "lstm_general.hpp"

namespace grunlock::GRUNLOCK_ISA {

template <class Operand>
class LstmBackwardUnit {
 public:
  // panels: weight_hh by pack_column_panel. shared: shared_size floats.
  LstmBackwardUnit(const LstmCall& call, const Shape& shape, int64_t direction, Block block, const float* panels,
                   float* shared)
      : whole_(call),
        call_(call.layer),
        s_(shape),
        d_(call_.directions[direction]),
        cell_(call.cells[direction]),
        direction_(direction),
        block_(block),
        panels_(panels),
        carry_(shared),
        zoneout_(call, direction, shape.H) {
    const int64_t rows = block.rows(shape.B);
    cell_carry_ = carry_ + rows * shape.P;
    gradients_[0] = cell_carry_ + rows * shape.P;
    gradients_[1] = gradients_[0] + rows * gradient_stride();
  }

  static int64_t shared_size(const Shape& s, int64_t rows) { return rows * (2 + 2 * kLstmGates) * s.P; }

  void run(Team& team) {
    const Share panels((s_.tiles + kPanelVectors - 1) / kPanelVectors, team.rank(), team.size());
    const Share tiles = tiles_of(panels);
    float* product = thread_scratch(block_.rows(s_.B) * kPanelVectors * kLanes);
    start_carry(d_.dfinal, tiles, carry_);
    start_carry(cell_.dfinal, tiles, cell_carry_);
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = direction_ == 1 ? step : s_.T - 1 - step;
      float* gradients = gradients_[step % 2];
      gate_gradients(t, tiles, gradients);
      team.barrier();
      const bool wanted = step + 1 < s_.T || needs_carry(call_, direction_);
      for (int64_t panel = panels.begin; wanted && panel < panels.end; ++panel) {
        carry_back(t, panel, gradients, product);
      }
    }
    write_initial(carry_, tiles, d_.dh0);
    write_initial(cell_carry_, tiles, cell_.dc0);
  }

 private:
  int64_t gradient_stride() const { return kLstmGates * s_.P / Operand::kPerWord; }

  Share tiles_of(Share panels) const {
    panels.begin *= kPanelVectors;
    panels.end = std::min(panels.end * kPanelVectors, s_.tiles);
    return panels;
  }

  void start_carry(const float* dfinal, const Share& tiles, float* carry) {
    for (int64_t i = 0; i < block_.rows(s_.B); ++i) {
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        store(carry + i * s_.P + column, initial_state(dfinal, s_, block_.sequence(i), column));
      }
    }
  }

  void gate_gradients(int64_t t, const Share& tiles, float* gradients) {
    for (int64_t i = 0; i < block_.rows(s_.active(t)); ++i) {
      const int64_t sequence = block_.sequence(i);
      const int64_t n = s_.start(t) + sequence;
      const LstmZoneout::Keys keys = zoneout_.keys(n);
      const PreviousCell c_prev(whole_, s_, direction_, t, sequence);
      const float* doutput = call_.doutput + n * s_.output_stride + direction_ * s_.H;
      float* operands = gradients + i * gradient_stride();
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        float* carry = carry_ + i * s_.P + column;
        float* cell_carry = cell_carry_ + i * s_.P + column;
        float* saved = d_.saved + n * kLstmSlots * s_.P + column;
        const Floats dh = load(carry) + load_first(doutput + column, s_.H - column);
        const LstmStates before =
            lstm_step_back(dh, load(cell_carry), c_prev.at(column), zoneout_, n, keys, column, saved, s_.P);
        store(carry, before.hidden);
        store(cell_carry, before.cell);
        for (int gate = 0; gate < kLstmGates; ++gate) {
          store_operand<Operand>(operands, gate * s_.P + column, load(saved + gate * s_.P));
        }
      }
    }
  }

  // carry += mask * (gradients @ weight_hh) for the columns of one panel.
  void carry_back(int64_t t, int64_t panel, const float* gradients, float* product) {
    const int64_t rows = block_.rows(s_.active(t));
    const int vectors = panel_vectors(panel, s_.tiles);
    const int64_t first = panel * kPanelVectors * kLanes;
    multiply_long_panel<Operand, Order::kRowMajor>(vectors, rows, gradients, gradient_stride(),
                                                   panels_ + first * gradient_stride(), gradient_stride(), product,
                                                   vectors * kLanes, false);
    for (int64_t i = 0; i < rows; ++i) {
      const float* mask = d_.state_mask == nullptr ? nullptr : d_.state_mask + block_.sequence(i) * s_.H;
      for (int v = 0; v < vectors; ++v) {
        const int64_t column = first + v * kLanes;
        float* carry = carry_ + i * s_.P + column;
        Floats back = load(product + (i * vectors + v) * kLanes);
        if (mask != nullptr) {
          back = back * load_state(mask, column, s_.H);
        }
        store(carry, load(carry) + back);
      }
    }
  }

  void write_initial(const float* carry, const Share& tiles, float* target) const {
    for (int64_t i = 0; target != nullptr && i < block_.rows(s_.B); ++i) {
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        store_first(target + block_.sequence(i) * s_.H + column, load(carry + i * s_.P + column), s_.H - column);
      }
    }
  }

  const LstmCall& whole_;
  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  const CellState& cell_;
  int64_t direction_;
  Block block_;
  const float* panels_;
  float* carry_;         // [rows, P] dh of the step at hand
  float* cell_carry_;    // [rows, P] dc
  float* gradients_[2];  // [rows, 4P] operands; two, so that one barrier a step will do
  LstmZoneout zoneout_;
};

template <class OperandType>
class LstmCellGradients {
 public:
  using Operand = OperandType;
  static constexpr int64_t kGates = kLstmGates;
  static constexpr int64_t kSlots = kLstmSlots;
  static constexpr const int* kInputOrder = kLstmInputOrder;

  explicit LstmCellGradients(const LstmCall& call) : call_(call), general_(is_general(call.layer)) {}

  int64_t input_slot(int64_t gate) const { return gate; }
  int64_t recurrent_slot(int64_t gate) const { return gate; }
  RowsSource input_rows(const Direction& d, const Shape& s) const { return {d.saved, kSlots * s.P}; }
  const float* saved_operands(const Direction&, const Shape&, int64_t) const { return nullptr; }

  int64_t shared_size(const Shape& s, int64_t rows) const {
    return general_ ? GeneralLstmBackwardUnit<Operand>::shared_size(s, rows)
                    : LstmBackwardUnit<Operand>::shared_size(s, rows);
  }

  void pack_state_panel(const Direction& d, const Shape& s, int64_t panel, float* panels) const {
    pack_column_panel<Operand>(d.weight_hh, s.H, s.H, s.tiles, kInputOrder, kGates, panel, panels);
  }

  void run_block(const Shape& s, int64_t direction, Block block, float* panels, NormSums sums, float* shared,
                 Team& members) const {
    if (general_) {
      GeneralLstmBackwardUnit<Operand>(call_, s, direction, block, panels, sums, shared).run(members);
    } else {
      LstmBackwardUnit<Operand>(call_, s, direction, block, panels, shared).run(members);
    }
  }

 private:
  const LstmCall& call_;
  bool general_;
};

template <class Operand>
void lstm_backward_as(const LstmCall& call) {
  const LstmCellGradients<Operand> cell(call);
  Gradients<LstmCellGradients<Operand>>(call.layer, cell).run();
}

inline void lstm_backward(const LstmCall& call) {
  if (call.layer.precision == GRUNLOCK_BFLOAT16) {
    lstm_backward_as<Bfloat16>(call);
  } else {
    lstm_backward_as<Float32>(call);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
