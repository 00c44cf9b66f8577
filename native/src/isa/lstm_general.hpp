// The LSTM with layer norm in its cell: products of a step go to memory, then whole rows are finished one by one.
#pragma once

#include "lstm.hpp"

namespace grunlock::GRUNLOCK_ISA {

template <class OperandType>
class GeneralLstmForwardUnit {
 public:
  using Operand = OperandType;
  using LayerCall = LstmCall;
  static constexpr int64_t kGates = kLstmGates;

  static const Call& layer_of(const LstmCall& call) { return call.layer; }

  // shared: shared_size floats, zeroed.
  GeneralLstmForwardUnit(const LstmCall& call, const Shape& shape, int64_t direction, Block block,
                         const GeneralWeights& weights, float* shared)
      : call_(call.layer),
        s_(shape),
        d_(call_.directions[direction]),
        cell_(call.cells[direction]),
        reverse_(direction == 1),
        output_(call_.output + direction * shape.H),
        block_(block),
        weights_(weights),
        zoneout_(call, direction, shape.H),
        keeper_(call_, d_, shape, kLstmSlots * shape.P + NormRows::kept_floats(shape, d_)),
        inputs_(call_, shape, direction, block, weights, keeper_) {
    const int64_t size = block.rows(shape.B) * shape.P;
    hidden_ = shared;
    cells_ = hidden_ + size;
    operands_ = cells_ + size;
    products_ = operands_ + size;
  }

  static int64_t shared_size(const Shape& s, int64_t rows) { return rows * (3 + kLstmGates) * s.P; }

  void run(Team& team) {
    const Share all(block_.rows(s_.B), team.rank(), team.size());
    start_states(all);
    inputs_.start(team);
    team.barrier();
    const int64_t offsets[] = {0, s_.P, 2 * s_.P, 3 * s_.P};
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = reverse_ ? s_.T - 1 - step : step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      inputs_.begin_step(step);
      multiply_units<Operand>(weights_.recurrent, 0, kLstmGates, rows, operands_, operand_stride(), team.rank(), team.size(),
                              offsets, products_, kLstmGates * s_.P);
      team.barrier();
      normalize_products<kLstmGates>(d_, s_, keeper_, share, 0, products_, [&](int64_t i) { return row_of(t, i); });
      for (int64_t i = share.begin; i < share.end; ++i) {
        finish(t, i);
      }
      team.barrier();
    }
    keeper_.finish();
    for (int64_t i = all.begin; i < all.end; ++i) {
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        store_first(cell_.final + block_.sequence(i) * s_.H + column, load(cells_ + i * s_.P + column), s_.H - column);
      }
    }
  }

 private:
  int64_t operand_stride() const { return s_.P / Operand::kPerWord; }
  int64_t row_of(int64_t t, int64_t i) const { return s_.start(t) + block_.sequence(i); }

  void write_operand(int64_t i, int64_t column, Floats h) {
    if (d_.state_mask != nullptr) {
      h = h * load_first(d_.state_mask + block_.sequence(i) * s_.H + column, s_.H - column);
    }
    store_operand<Operand>(operands_ + i * operand_stride(), column, h);
  }

  void start_states(const Share& share) {
    for (int64_t i = share.begin; i < share.end; ++i) {
      const int64_t sequence = block_.sequence(i);
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        const Floats h = initial_state(d_.h0, s_, sequence, column);
        store(hidden_ + i * s_.P + column, h);
        store(cells_ + i * s_.P + column, initial_state(cell_.c0, s_, sequence, column));
        write_operand(i, column, h);
      }
    }
  }

  void finish(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const LstmZoneout::Keys keys = zoneout_.keys(n);
    const float* x = inputs_.row(n, i);
    const float* a = products_ + i * kLstmGates * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      Floats gates[kLstmGates];
      for (int64_t gate = 0; gate < kLstmGates; ++gate) {
        const int64_t place = gate * s_.P + column;
        gates[gate] = weights_.terms.input.part(load(x + place), place) + weights_.terms.state.part(load(a + place), place);
      }
      float* hidden = hidden_ + i * s_.P + column;
      float* cell = cells_ + i * s_.P + column;
      float* saved = d_.saved == nullptr ? nullptr : d_.saved + n * kLstmSlots * s_.P + column;
      const LstmStates states = lstm_step(gates, {load(hidden), load(cell)}, zoneout_, n, keys, column, keeper_, saved,
                                          s_.P);
      store(hidden, states.hidden);
      store(cell, states.cell);
      store_first(output_ + n * s_.output_stride + column, states.hidden, s_.H - column);
      write_operand(i, column, states.hidden);
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  const CellState& cell_;
  bool reverse_;
  float* output_;
  Block block_;
  const GeneralWeights& weights_;
  LstmZoneout zoneout_;
  Keeper keeper_;
  InputGates<Operand> inputs_;
  float* hidden_;    // [rows, P]
  float* cells_;     // [rows, P]
  float* operands_;  // [rows, P] masked
  float* products_;  // [rows, 4P]
};

template <class Operand>
class GeneralLstmBackwardUnit {
 public:
  // panels: weight_hh by pack_column_panel. shared: shared_size floats, zeroed.
  GeneralLstmBackwardUnit(const LstmCall& call, const Shape& shape, int64_t direction, Block block,
                          const float* panels, NormSums sums, float* shared)
      : whole_(call),
        call_(call.layer),
        s_(shape),
        d_(call_.directions[direction]),
        cell_(call.cells[direction]),
        direction_(direction),
        block_(block),
        panels_(panels),
        carry_(call_, shape, direction, block, sums, shared),
        cell_carry_(shared + GeneralCarry<Operand>::size(shape, block.rows(shape.B))),
        zoneout_(call, direction, shape.H) {}

  static int64_t shared_size(const Shape& s, int64_t rows) {
    return GeneralCarry<Operand>::size(s, rows) + rows * s.P;
  }

  void run(Team& team) {
    const Share panels((s_.tiles + kPanelVectors - 1) / kPanelVectors, team.rank(), team.size());
    const Share all(block_.rows(s_.B), team.rank(), team.size());
    carry_.start(all);
    for (int64_t i = all.begin; i < all.end; ++i) {
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        store(cell_carry_ + i * s_.P + column, initial_state(cell_.dfinal, s_, block_.sequence(i), column));
      }
    }
    team.barrier();
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = direction_ == 1 ? step : s_.T - 1 - step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      for (int64_t i = share.begin; i < share.end; ++i) {
        carry_.prefetch(row_of(t, std::min(i + kRowsAhead, share.end - 1)));
        row_back(t, i);
      }
      team.barrier();
      carry_.multiply(panels_, kLstmGates, panels, rows);
      team.barrier();
      for (int64_t i = share.begin; i < share.end; ++i) {
        carry_.add_product(i);
      }
      team.barrier();
    }
    carry_.write_initial(all);
    for (int64_t i = all.begin; cell_.dc0 != nullptr && i < all.end; ++i) {
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        const Floats value = load(cell_carry_ + i * s_.P + column);
        store_first(cell_.dc0 + block_.sequence(i) * s_.H + column, value, s_.H - column);
      }
    }
  }

 private:
  int64_t row_of(int64_t t, int64_t i) const { return s_.start(t) + block_.sequence(i); }

  // Saved activations of a row become gradients.
  void row_back(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const LstmZoneout::Keys keys = zoneout_.keys(n);
    const PreviousCell c_prev(whole_, s_, direction_, t, block_.sequence(i));
    const float* doutput = call_.doutput + n * s_.output_stride + direction_ * s_.H;
    float* saved = d_.saved + n * kLstmSlots * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      float* carry = carry_.at(i) + column;
      float* cell_carry = cell_carry_ + i * s_.P + column;
      const Floats dh = load(carry) + load_first(doutput + column, s_.H - column);
      const LstmStates before = lstm_step_back(dh, load(cell_carry), c_prev.at(column), zoneout_, n, keys, column,
                                               saved + column, s_.P);
      store(carry, before.hidden);
      store(cell_carry, before.cell);
    }
    carry_.template write_operands<kLstmGates>(i, n, 0, 0, saved);
    if (carry_.normalizes_rows()) {
      carry_.template input_back<kLstmGates>(i, n, kLstmInputOrder, saved, saved);
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
  GeneralCarry<Operand> carry_;
  float* cell_carry_;  // [rows, P] dc
  LstmZoneout zoneout_;
};

}  // namespace grunlock::GRUNLOCK_ISA
