// The backward in time of general_forward.hpp: gradients of whole rows, then products, then whole rows again.
#pragma once

#include "general_forward.hpp"
#include "gru_backward.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Panels of weight_hh for the way back; without reset_after the candidate's product comes first, by itself.
struct BackPanels {
  const float* all;        // reset, update (and candidate with reset_after)
  const float* candidate;  // without reset_after
};

// dh of a block on its way back through a step's product, for any number of gates.
template <class Operand>
class GeneralCarry {
 public:
  // shared: size floats, zeroed.
  GeneralCarry(const Call& call, const Shape& shape, int64_t direction, Block block, NormSums sums, float* shared)
      : s_(shape),
        d_(call.directions[direction]),
        block_(block),
        sums_(sums),
        normalizes_vectors_(normalizes_vectors(call)) {
    const int64_t count = block.rows(shape.B) * shape.P;
    carry_ = shared;
    product_ = carry_ + count;
    gradients_ = product_ + count;
  }

  static int64_t size(const Shape& s, int64_t rows) { return rows * (2 + s.gates) * s.P; }

  float* at(int64_t i) { return carry_ + i * s_.P; }
  const float* product(int64_t i) const { return product_ + i * s_.P; }

  Floats mask(int64_t i, int64_t column) const {
    return d_.state_mask == nullptr ? splat(1.0f)
                                    : load_state(d_.state_mask + block_.sequence(i) * s_.H, column, s_.H);
  }

  void start(const Share& share) {
    for (int64_t i = share.begin; i < share.end; ++i) {
      const float* row = d_.dfinal == nullptr ? nullptr : d_.dfinal + block_.sequence(i) * s_.H;
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        store(at(i) + column, load_state(row, column, s_.H));
      }
    }
  }

  // Has what the norms of a packed row kept brought near, some rows before it is needed: rows backward in time are not
  // what the processor expects.
  void prefetch(int64_t row) const {
    if (d_.saved_norm != nullptr) {
      prefetch_floats(NormRows::state(d_, s_, row), s_.gates * s_.P);
      if (!normalizes_vectors_) {
        prefetch_floats(NormRows::input(d_, s_, row), s_.gates * s_.P);
      }
    }
  }

  // The gradients of the recurrent parts of n gates from `gate` on, through the norm if there is one, as operands of gates
  // from `place` on, for rows of the block. gradients(i): [n][P]; row_of(i): its packed row.
  template <int n, class Gradients, class RowOf>
  void write_operands(const Share& share, int64_t gate, int64_t place, const Gradients& gradients, const RowOf& row_of) {
    for (int64_t i = share.begin; i < share.end; ++i) {
      const float* operands = gradients(i);
      if (d_.norm_weight_hh != nullptr) {
        float* kept = NormRows::state(d_, s_, row_of(i));
        NormBackRow<n> row;
        row.normalized = kept + gate * s_.P;
        row.scales = kept + s_.gates * s_.P + gate;
        row.gain_sums = sums_.at(s_, block_.sequence(i), NormSums::kStateGain) + gate * s_.P;
        row.bias_sums = sums_.at(s_, block_.sequence(i), NormSums::kStateBias) + gate * s_.P;
        for (int g = 0; g < n; ++g) {
          row.gradients[g] = operands + g * s_.P;
          row.results[g] = kept + (gate + g) * s_.P;
        }
        normalize_back<n>(row, d_.norm_weight_hh + gate * s_.H, s_);
        operands = row.results[0];
      }
      for (int64_t column = 0; column < n * s_.P; column += kLanes) {
        store_operand<Operand>(gradients_ + i * gradient_stride(), place * s_.P + column, load(operands + column));
      }
    }
  }

  // The gradients of the input's parts of all n gates through the norm, in place, where every packed row has its own.
  // gradient(i, g): of one gate [P].
  template <int n, class Gradient, class RowOf>
  void input_back(const Share& share, const Gradient& gradient, const RowOf& row_of) {
    if (d_.norm_weight_ih == nullptr || normalizes_vectors_) {
      return;
    }
    for (int64_t i = share.begin; i < share.end; ++i) {
      NormBackRow<n> row;
      row.normalized = NormRows::input(d_, s_, row_of(i));
      row.scales = row.normalized + n * s_.P;
      row.gain_sums = sums_.at(s_, block_.sequence(i), NormSums::kInputGain);
      row.bias_sums = sums_.at(s_, block_.sequence(i), NormSums::kInputBias);
      for (int g = 0; g < n; ++g) {
        row.results[g] = gradient(i, g);
        row.gradients[g] = row.results[g];
      }
      normalize_back<n>(row, d_.norm_weight_ih, s_);
    }
  }

  // product = operands @ panels over the first `num_gates` places, columns of a share of the panels.
  void multiply(const float* panels, int64_t num_gates, const Share& share, int64_t rows) {
    const int64_t num_words = num_gates * s_.P / Operand::kPerWord;
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t first = panel * kPanelVectors * kLanes;
      multiply_long_panel<Operand, Order::kRowMajor>(panel_vectors(panel, s_.tiles), rows, gradients_,
                                                     gradient_stride(), panels + first * num_words, num_words,
                                                     product_ + first, s_.P, false);
    }
  }

  void add_product(int64_t i) {
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      store(at(i) + column, load(at(i) + column) + mask(i, column) * load(product(i) + column));
    }
  }

  void write_initial(const Share& share) {
    for (int64_t i = share.begin; d_.dh0 != nullptr && i < share.end; ++i) {
      for (int64_t column = 0; column < s_.P; column += kLanes) {
        store_first(d_.dh0 + block_.sequence(i) * s_.H + column, load(at(i) + column), s_.H - column);
      }
    }
  }

 private:
  int64_t gradient_stride() const { return s_.gates * s_.P / Operand::kPerWord; }

  const Shape& s_;
  const Direction& d_;
  Block block_;
  NormSums sums_;
  bool normalizes_vectors_;
  float* carry_;      // [rows, P]
  float* product_;    // [rows, P]
  float* gradients_;  // [rows, gP] operands
};

template <class Operand>
class GeneralBackwardUnit {
 public:
  // shared: shared_size floats, zeroed.
  GeneralBackwardUnit(const Call& call, const Shape& shape, int64_t direction, Block block, BackPanels panels,
                      NormSums sums, float* shared)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        direction_(direction),
        block_(block),
        panels_(panels),
        carry_(call, shape, direction, block, sums, shared),
        zoneout_(call.directions[direction], shape.H) {}

  static int64_t shared_size(const Shape& s, int64_t rows) { return GeneralCarry<Operand>::size(s, rows); }

  void run(Team& team) {
    const int64_t num_panels = (s_.tiles + kPanelVectors - 1) / kPanelVectors;
    const Share panels(num_panels, team.rank(), team.size());
    carry_.start(Share(block_.rows(s_.B), team.rank(), team.size()));
    team.barrier();
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = direction_ == 1 ? step : s_.T - 1 - step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      for (int64_t i = share.begin; i < share.end; ++i) {
        gate_gradients(t, i);
      }
      call_.reset_after ? write_operands<3>(t, share, kReset, 0, 0) : write_operands<1>(t, share, kCandidate, 2, 0);
      team.barrier();
      if (!call_.reset_after) {
        carry_.multiply(panels_.candidate, 1, panels, rows);
        team.barrier();
        for (int64_t i = share.begin; i < share.end; ++i) {
          reset_gradients(t, i);
        }
        write_operands<2>(t, share, kReset, 0, 0);
        team.barrier();
      }
      carry_.multiply(panels_.all, call_.reset_after ? 3 : 2, panels, rows);
      team.barrier();
      for (int64_t i = share.begin; i < share.end; ++i) {
        carry_.add_product(i);
      }
      carry_.template input_back<3>(
          share, [&](int64_t i, int gate) { return saved(t, i) + (gate == 2 ? kCandidate : kReset + gate) * s_.P; },
          [&](int64_t i) { return row_of(t, i); });
      team.barrier();
    }
    carry_.write_initial(Share(block_.rows(s_.B), team.rank(), team.size()));
  }

 private:
  int64_t row_of(int64_t t, int64_t i) const { return s_.start(t) + block_.sequence(i); }
  float* saved(int64_t t, int64_t i) const { return d_.saved + row_of(t, i) * 4 * s_.P; }

  void gate_gradients(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    carry_.prefetch(n);
    const uint32_t key = zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(n) : 0;
    const float* h_prev = previous_state(call_, s_, direction_, t, block_.sequence(i));
    const float* doutput = call_.doutput + n * s_.output_stride + direction_ * s_.H;
    float* saved = d_.saved + n * 4 * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      float* slots = saved + column;
      float* carry = carry_.at(i) + column;
      const Floats candidate = load(slots + kCandidate * s_.P);
      const Floats r = load(slots + kReset * s_.P);
      const Floats z = load(slots + kUpdate * s_.P);
      const Floats dh = load(carry) + load_first(doutput + column, s_.H - column);
      const StateGradients d =
          state_gradients(zoneout_, n, key, column, dh, load_state(h_prev, column, s_.H), z, candidate);
      const Floats dn = d.candidate * (1.0f - candidate * candidate);
      store(carry, d.previous);
      store(slots + kCandidate * s_.P, dn);
      store(slots + kUpdate * s_.P, d.update * (z * (1.0f - z)));
      if (call_.reset_after) {
        const Floats a_n = load(slots + kStateCandidate * s_.P);
        store(slots + kReset * s_.P, (dn * a_n) * (r * (1.0f - r)));
        store(slots + kStateCandidate * s_.P, dn * r);
      }
    }
  }

  template <int n>
  void write_operands(int64_t t, const Share& share, int64_t slot, int64_t gate, int64_t place) {
    carry_.template write_operands<n>(
        share, gate, place, [&](int64_t i) { return saved(t, i) + slot * s_.P; },
        [&](int64_t i) { return row_of(t, i); });
  }

  // Without reset_after: product_ holds the gradient of r * masked h.
  void reset_gradients(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const float* h_prev = previous_state(call_, s_, direction_, t, block_.sequence(i));
    float* saved = d_.saved + n * 4 * s_.P;
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      float* carry = carry_.at(i) + column;
      const Floats dq = load(carry_.product(i) + column);
      const Floats r = load(saved + kReset * s_.P + column);
      const Floats kept = carry_.mask(i, column);
      const Floats masked = load_state(h_prev, column, s_.H) * kept;
      store(saved + kReset * s_.P + column, (dq * masked) * (r * (1.0f - r)));
      store(carry, load(carry) + kept * (dq * r));
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  int64_t direction_;
  Block block_;
  BackPanels panels_;
  GeneralCarry<Operand> carry_;
  Zoneout zoneout_;
};

}  // namespace grunlock::GRUNLOCK_ISA
