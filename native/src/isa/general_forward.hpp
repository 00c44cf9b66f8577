// The GRU forward where a gate needs whole rows before it can be finished: layer norm in the cell, or the reset gate in
// front of the product. Products of a step go to memory, then rows are finished one by one. What surrounds the steps
// serves the LSTM too.
#pragma once

#include "general_inputs.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Equations (2) to (4) with the reset gate behind the product.
template <int n>
struct GruGates {
  Floats reset[n], update[n];
  Floats a_n[n];  // the state's part of the candidate
  Floats candidate[n];
};

// Of n neighbouring vectors from `column` on. x: the input's part of each gate, offsets[3] its places; products: the
// state's, [3][P].
template <int n>
GRUNLOCK_INLINE GruGates<n> gru_gates(const float* x, const int64_t* offsets, const float* products,
                                      const PartTerms& terms, int64_t P, int64_t column) {
  const auto input = [&](int64_t gate, int j) {
    const int64_t unit = column + j * kLanes;
    return terms.input.part(load(x + offsets[gate] + unit), gate * P + unit);
  };
  const auto recurrent = [&](int64_t gate, int j) {
    const int64_t place = gate * P + column + j * kLanes;
    return terms.state.part(load(products + place), place);
  };
  GruGates<n> gates;
  each<n>([&](int j) { gates.reset[j] = input(0, j) + recurrent(0, j); });
  each<n>([&](int j) { gates.update[j] = input(1, j) + recurrent(1, j); });
  sigmoid<n>(gates.reset);
  sigmoid<n>(gates.update);
  each<n>([&](int j) { gates.a_n[j] = recurrent(2, j); });
  each<n>([&](int j) { gates.candidate[j] = input(2, j) + gates.reset[j] * gates.a_n[j]; });
  tanh<n>(gates.candidate);
  return gates;
}

template <class OperandType>
class GeneralForwardUnit {
 public:
  using Operand = OperandType;
  using LayerCall = Call;
  static constexpr int64_t kGates = 3;

  static const Call& layer_of(const Call& call) { return call; }

  // shared: shared_size floats, zeroed.
  GeneralForwardUnit(const Call& call, const Shape& shape, int64_t direction, Block block,
                     const GeneralWeights& weights, float* shared)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        reverse_(direction == 1),
        output_(call.output + direction * shape.H),
        block_(block),
        weights_(weights),
        zoneout_(call.directions[direction], shape.H),
        keeps_gates_(d_.saved != nullptr && !keeps_norms_only(call)),
        keeper_(call, d_, shape, (keeps_gates_ ? 4 * shape.P : 0) + NormRows::kept_floats(shape, d_)),
        inputs_(call, shape, direction, block, weights, keeper_) {
    const int64_t size = block.rows(shape.B) * shape.P;
    states_ = shared;
    operands_ = states_ + size;
    reset_operands_ = operands_ + size;
    products_ = reset_operands_ + size;
  }

  static int64_t shared_size(const Shape& s, int64_t rows) { return rows * 6 * s.P; }

  void run(Team& team) {
    start_states(Share(block_.rows(s_.B), team.rank(), team.size()));
    inputs_.start(team);
    team.barrier();
    const int64_t offsets[kGates] = {0, s_.P, 2 * s_.P};
    const int64_t at_first = call_.reset_after ? 3 : 2;
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = reverse_ ? s_.T - 1 - step : step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      inputs_.begin_step(step);
      multiply_units<Operand>(weights_.recurrent, 0, at_first, rows, operands_, operand_stride(), team.rank(), team.size(),
                              offsets, products_, 3 * s_.P);
      team.barrier();
      if (call_.reset_after) {
        finish_rows<3>(t, share);
      } else {
        open_rows(t, share);
      }
      team.barrier();
      if (!call_.reset_after) {
        multiply_units<Operand>(weights_.recurrent, 2, 3, rows, reset_operands_, operand_stride(), team.rank(), team.size(),
                                offsets, products_, 3 * s_.P);
        team.barrier();
        finish_rows<1>(t, share);
        team.barrier();
      }
    }
    keeper_.finish();
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
    return weights_.terms.input.part(load(row + inputs_.offsets()[gate] + column), gate * s_.P + column);
  }

  // a_g: the state's part.
  Floats recurrent(int64_t i, int64_t gate, int64_t column) const {
    const int64_t place = gate * s_.P + column;
    return weights_.terms.state.part(load(products_ + i * 3 * s_.P + place), place);
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

  template <int n>
  void normalize_rows(int64_t t, const Share& share, int64_t gate) {
    if (d_.norm_weight_hh != nullptr) {
      normalize_products<n>(d_, s_, keeper_, share, gate, products_, [&](int64_t i) { return row_of(t, i); });
    }
  }

  // Reset before the product: reset and update, and r * h as the next operand. The products' row then holds r and z.
  void open_rows(int64_t t, const Share& share) {
    normalize_rows<2>(t, share, 0);
    for (int64_t i = share.begin; i < share.end; ++i) {
      open_gates(t, i);
    }
  }

  void open_gates(int64_t t, int64_t i) {
    const float* x = inputs_.row(row_of(t, i), i);
    float* product = products_ + i * 3 * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      Floats opened[2] = {input(x, 0, column) + recurrent(i, 0, column), input(x, 1, column) + recurrent(i, 1, column)};
      sigmoid<2>(opened);
      store(product + column, opened[0]);
      store(product + s_.P + column, opened[1]);
      const Floats q = opened[0] * masked(load(states_ + i * s_.P + column), i, column);
      store_operand<Operand>(reset_operands_ + i * operand_stride(), column, q);
      if (d_.saved != nullptr) {
        keeper_.store(d_.saved + (row_of(t, i) * 4 + 3) * s_.P + column, q);
      }
    }
  }

  // The next states. gates: 3, or 1 if reset and update are there already.
  template <int gates>
  void finish_rows(int64_t t, const Share& share) {
    normalize_rows<gates>(t, share, 3 - gates);
    for (int64_t i = share.begin; i < share.end; ++i) {
      int64_t column = 0;
      for (; column + kAtOnce * kLanes <= s_.P; column += kAtOnce * kLanes) {
        finish<gates, kAtOnce>(row_of(t, i), i, column);
      }
      for (; column < s_.P; column += kLanes) {
        finish<gates, 1>(row_of(t, i), i, column);
      }
    }
  }

  // n neighbouring vectors of packed row `row`.
  template <int gates, int n>
  GRUNLOCK_INLINE void finish(int64_t row, int64_t i, int64_t first) {
    if constexpr (gates == 3) {
      finish<n>(row, i, first,
                gru_gates<n>(inputs_.row(row, i), inputs_.offsets(), products_ + i * 3 * s_.P, weights_.terms, s_.P,
                             first));
    } else {
      finish<n>(row, i, first, opened_gates<n>(row, i, first));
    }
  }

  // With the reset gate in front of the product.
  template <int n>
  GRUNLOCK_INLINE GruGates<n> opened_gates(int64_t row, int64_t i, int64_t first) const {
    const float* x = inputs_.row(row, i);
    const float* opened = products_ + i * 3 * s_.P + first;
    GruGates<n> gates;
    each<n>([&](int j) {
      const int64_t column = first + j * kLanes;
      gates.reset[j] = load(opened + j * kLanes);
      gates.update[j] = load(opened + s_.P + j * kLanes);
      gates.a_n[j] = recurrent(i, 2, column);
      gates.candidate[j] = input(x, 2, column) + gates.a_n[j];
    });
    tanh<n>(gates.candidate);
    return gates;
  }

  template <int n>
  GRUNLOCK_INLINE void finish(int64_t row, int64_t i, int64_t first, const GruGates<n>& gates) {
    const uint32_t key = zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(row) : 0;
    const auto column = [&](int j) { return first + j * kLanes; };
    each<n>([&](int j) {
      const Floats h_prev = load(states_ + i * s_.P + column(j));
      Floats h = gates.candidate[j] + gates.update[j] * (h_prev - gates.candidate[j]);
      if (zoneout_.kind != GRUNLOCK_ZONEOUT_OFF) {
        h = h + zoneout_.keep(row, key, column(j)) * (h_prev - h);
      }
      store_first(output_ + row * s_.output_stride + column(j), h, s_.H - column(j));
      store(states_ + i * s_.P + column(j), h);
      store_operand<Operand>(operands_ + i * operand_stride(), column(j), masked(h, i, column(j)));
    });
    for (int j = 0; keeps_gates_ && j < n; ++j) {
      float* saved = d_.saved + row * 4 * s_.P + column(j);
      keeper_.store(saved, gates.candidate[j]);
      keeper_.store(saved + s_.P, gates.reset[j]);
      keeper_.store(saved + 2 * s_.P, gates.update[j]);
      if (call_.reset_after) {
        keeper_.store(saved + 3 * s_.P, gates.a_n[j]);
      }
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  bool reverse_;
  float* output_;
  Block block_;
  const GeneralWeights& weights_;
  Zoneout zoneout_;
  bool keeps_gates_;
  Keeper keeper_;
  InputGates<Operand> inputs_;
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
      : whole_(whole), call_(Unit::layer_of(whole)), s_(call_, Unit::kGates) {}

  void run() {
    const int64_t recurrent = s_.gates * s_.P * words<Operand>(s_.H);
    const int64_t input = s_.gates * s_.P * words<Operand>(s_.D);
    const int64_t shared = Unit::shared_size(s_, s_.B);
    int64_t tables[GRUNLOCK_MAX_DIRECTIONS] = {};
    int64_t total = 0;
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const bool own_table = has_gates_table(call_) && call_.directions[i].saved_norm == nullptr;
      tables[i] = own_table ? s_.U * InputLayout(s_).stride : 0;
      total += Pieces::size(recurrent) + Pieces::size(input) + Pieces::size(shared) + Pieces::size(tables[i]) +
               Pieces::size(PartTerms::size(s_));
    }
    Pieces pieces(call_scratch(total));
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const Direction& d = call_.directions[i];
      shared_[i] = pieces.take(shared);
      weights_[i].recurrent = {pieces.take(recurrent), words<Operand>(s_.H), s_.tiles};
      weights_[i].input = {pieces.take(input), words<Operand>(s_.D), s_.tiles};
      tables_[i] = gates_table(s_, d, pieces.take(tables[i]));
      weights_[i].table = has_gates_table(call_) ? tables_[i] : nullptr;
      weights_[i].terms = PartTerms::copy(d, s_, pieces.take(PartTerms::size(s_)));
      std::fill(shared_[i], shared_[i] + shared, 0.0f);
    }
    run_team(wanted_threads(call_, s_.gates), [this](Team& team) { body(team); });
  }

 private:
  void body(Team& team) {
    for (int64_t i = 0; i < call_.num_directions; ++i) {
      const UnitPanels recurrent = weights_[i].recurrent;
      const UnitPanels input = weights_[i].input;
      const Direction& d = call_.directions[i];
      for (int64_t job = team.rank(); job < s_.gates * recurrent.per_gate(); job += team.size()) {
        const int64_t gate = job / recurrent.per_gate();
        const int64_t panel = job % recurrent.per_gate();
        pack_unit_panel<Operand>(d.weight_hh, s_, s_.H, gate, panel, const_cast<float*>(recurrent.at(gate, panel)));
        pack_unit_panel<Operand>(d.weight_ih, s_, s_.D, gate, panel, const_cast<float*>(input.at(gate, panel)));
      }
    }
    team.barrier();
    for (int64_t i = 0; has_gates_table(call_) && i < call_.num_directions; ++i) {
      fill_gates_table<Operand>(call_, s_, call_.directions[i], weights_[i].input, Share(s_.U, team.rank(), team.size()),
                                tables_[i]);
    }
    team.barrier();
    const int64_t weight_floats = s_.gates * s_.H * s_.H / Operand::kPerWord;
    for_each_unit(s_, call_.num_directions, weight_floats, team, arrived_, [this](int64_t i, Block block, int64_t before,
                                                                                  Team& members) {
      float* shared = shared_[i] + Unit::shared_size(s_, before);
      Unit(whole_, s_, i, block, weights_[i], shared).run(members);
    });
    team.barrier();
    for (int64_t i = team.rank(); i < call_.num_directions; i += team.size()) {
      copy_final(call_, s_, i);
    }
  }

  const LayerCall& whole_;
  const Call& call_;
  Shape s_;
  float* tables_[GRUNLOCK_MAX_DIRECTIONS];
  float* shared_[GRUNLOCK_MAX_DIRECTIONS];
  GeneralWeights weights_[GRUNLOCK_MAX_DIRECTIONS];
  std::atomic<int64_t> arrived_[GRUNLOCK_MAX_THREADS] = {};
};

}  // namespace grunlock::GRUNLOCK_ISA
