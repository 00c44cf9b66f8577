// The backward in time of general_forward.hpp: gradients of whole rows, then products, then whole rows again.
#pragma once

#include "general_forward.hpp"
#include "gru_backward.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr int64_t kRowsAhead = 2;  // that a row's norms are fetched before they are needed

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

  // gradients [n][P]: those of the recurrent parts of n gates from `gate` on, in row i of the block. Takes them through the
  // norm if there is one, and keeps them as operands of gates from `place` on.
  template <int n>
  void write_operands(int64_t i, int64_t packed_row, int64_t gate, int64_t place, const float* gradients) {
    if (d_.norm_weight_hh != nullptr) {
      float* kept = NormRows::state(d_, s_, packed_row);
      float* gains = sums_.at(s_, block_.sequence(i), NormSums::kStateGain);
      float* biases = sums_.at(s_, block_.sequence(i), NormSums::kStateBias);
      NormBack gates[n];
      each<n>([&](int g) {
        const int64_t place = (gate + g) * s_.P;
        gates[g] = {gradients + g * s_.P, kept + place, d_.norm_weight_hh + (gate + g) * s_.H,
                    kept[s_.gates * s_.P + gate + g], kept + place, gains + place, biases + place};
      });
      normalize_back<n>(gates, s_);
      gradients = kept + gate * s_.P;
    }
    for (int64_t column = 0; column < n * s_.P; column += kLanes) {
      store_operand<Operand>(gradients_ + i * gradient_stride(), place * s_.P + column, load(gradients + column));
    }
  }

  // The gradients [n][P] of the input's parts of all n gates through the norm, where every packed row has its own; slots in
  // the order of gates given. results: [n][P], perhaps the same.
  template <int n>
  void input_back(int64_t i, int64_t packed_row, const int* order, const float* gradients, float* results) {
    const float* kept = NormRows::input(d_, s_, packed_row);
    float* gains = sums_.at(s_, block_.sequence(i), NormSums::kInputGain);
    float* biases = sums_.at(s_, block_.sequence(i), NormSums::kInputBias);
    NormBack gates[n];
    each<n>([&](int slot) {
      const int64_t place = order[slot] * s_.P;
      gates[slot] = {gradients + slot * s_.P, kept + slot * s_.P, d_.norm_weight_ih + order[slot] * s_.H,
                     kept[n * s_.P + slot],   results + slot * s_.P, gains + place, biases + place};
    });
    normalize_back<n>(gates, s_);
  }

  bool normalizes_rows() const { return d_.norm_weight_ih != nullptr && !normalizes_vectors_; }

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
        norms_only_(keeps_norms_only(call)),
        carry_(call, shape, direction, block, sums, shared),
        zoneout_(call.directions[direction], shape.H) {}

  static int64_t shared_size(const Shape& s, int64_t rows) { return GeneralCarry<Operand>::size(s, rows); }

  void run(Team& team) {
    const int64_t num_panels = (s_.tiles + kPanelVectors - 1) / kPanelVectors;
    const Share panels(num_panels, team.rank(), team.size());
    if (norms_only_) {
      row_ = thread_scratch(PartTerms::size(s_) + 4 * s_.P);
      terms_ = PartTerms::copy(d_, s_, row_ + 4 * s_.P);
    }
    carry_.start(Share(block_.rows(s_.B), team.rank(), team.size()));
    team.barrier();
    for (int64_t step = 0; step < s_.T; ++step) {
      const int64_t t = direction_ == 1 ? step : s_.T - 1 - step;
      const int64_t rows = block_.rows(s_.active(t));
      const Share share(rows, team.rank(), team.size());
      for (int64_t i = share.begin; i < share.end; ++i) {
        carry_.prefetch(row_of(t, std::min(i + kRowsAhead, share.end - 1)));
        norms_only_ ? norms_back(t, i) : gates_back(t, i);
      }
      team.barrier();
      if (!call_.reset_after) {
        carry_.multiply(panels_.candidate, 1, panels, rows);
        team.barrier();
        for (int64_t i = share.begin; i < share.end; ++i) {
          reset_back(t, i);
        }
        team.barrier();
      }
      carry_.multiply(panels_.all, call_.reset_after ? 3 : 2, panels, rows);
      team.barrier();
      for (int64_t i = share.begin; i < share.end; ++i) {
        carry_.add_product(i);
      }
      team.barrier();
    }
    carry_.write_initial(Share(block_.rows(s_.B), team.rank(), team.size()));
  }

 private:
  int64_t row_of(int64_t t, int64_t i) const { return s_.start(t) + block_.sequence(i); }
  float* saved(int64_t n) const { return d_.saved + n * 4 * s_.P; }

  // Saved activations of a row become gradients.
  void gates_back(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const RowBack row = row_back(t, i);
    float* slots = saved(n);
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      const GruGates<1> gates{{load(slots + kReset * s_.P + column)},
                              {load(slots + kUpdate * s_.P + column)},
                              {load(slots + kStateCandidate * s_.P + column)},
                              {load(slots + kCandidate * s_.P + column)}};
      gate_gradients<1>(row, column, gates, slots);
    }
    if (call_.reset_after) {
      carry_.template write_operands<3>(i, n, 0, 0, slots + kReset * s_.P);
    } else {
      carry_.template write_operands<1>(i, n, 2, 0, slots + kCandidate * s_.P);
    }
  }

  // The same where norms are all that was kept; they become gradients too. Input gates that were normalised once per
  // vector go through their norms later: theirs wait in `saved`.
  void norms_back(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const bool per_row = carry_.normalizes_rows();
    const float* x = NormRows::input(d_, s_, per_row ? n : call_.index[n]);
    const float* products = NormRows::state(d_, s_, n);
    const int64_t offsets[] = {kReset * s_.P, kUpdate * s_.P, kCandidate * s_.P};
    const RowBack row = row_back(t, i);
    float* slots = per_row ? row_ : saved(n);
    int64_t column = 0;
    for (; column + kAtOnce * kLanes <= s_.P; column += kAtOnce * kLanes) {
      gate_gradients<kAtOnce>(row, column, gru_gates<kAtOnce>(x, offsets, products, terms_, s_.P, column), slots);
    }
    for (; column < s_.P; column += kLanes) {
      gate_gradients<1>(row, column, gru_gates<1>(x, offsets, products, terms_, s_.P, column), slots);
    }
    carry_.template write_operands<3>(i, n, 0, 0, slots + kReset * s_.P);
    if (per_row) {
      carry_.template input_back<3>(i, n, kGruInputOrder, slots, NormRows::input(d_, s_, n));
    }
  }

  // What the gradients of a row's gates read besides the gates.
  struct RowBack {
    int64_t n;
    uint32_t key;          // of zoneout
    const float* h_prev;   // nullptr: zero
    const float* doutput;
    float* carry;
  };

  RowBack row_back(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    return {n, zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(n) : 0,
            previous_state(call_, s_, direction_, t, block_.sequence(i)),
            call_.doutput + n * s_.output_stride + direction_ * s_.H, carry_.at(i)};
  }

  // Gradients of `count` neighbouring vectors of gates into their slots. Without reset_after the reset gate waits.
  template <int count>
  GRUNLOCK_INLINE void gate_gradients(const RowBack& row, int64_t first, const GruGates<count>& gates, float* slots) {
    each<count>([&](int j) {
      const int64_t column = first + j * kLanes;
      const Floats r = gates.reset[j], z = gates.update[j], candidate = gates.candidate[j];
      const Floats dh = load(row.carry + column) + load_first(row.doutput + column, s_.H - column);
      const StateGradients d = state_gradients(zoneout_, row.n, row.key, column, dh,
                                               load_state(row.h_prev, column, s_.H), z, candidate);
      const Floats dn = d.candidate * (1.0f - candidate * candidate);
      store(row.carry + column, d.previous);
      store(slots + kCandidate * s_.P + column, dn);
      store(slots + kUpdate * s_.P + column, d.update * (z * (1.0f - z)));
      if (call_.reset_after) {
        store(slots + kReset * s_.P + column, (dn * gates.a_n[j]) * (r * (1.0f - r)));
        store(slots + kStateCandidate * s_.P + column, dn * r);
      }
    });
  }

  // Without reset_after: the product holds the gradient of r * masked h.
  void reset_back(int64_t t, int64_t i) {
    const int64_t n = row_of(t, i);
    const float* h_prev = previous_state(call_, s_, direction_, t, block_.sequence(i));
    float* slots = saved(n);
    for (int64_t column = 0; column < s_.P; column += kLanes) {
      float* carry = carry_.at(i) + column;
      const Floats dq = load(carry_.product(i) + column);
      const Floats r = load(slots + kReset * s_.P + column);
      const Floats kept = carry_.mask(i, column);
      const Floats masked = load_state(h_prev, column, s_.H) * kept;
      store(slots + kReset * s_.P + column, (dq * masked) * (r * (1.0f - r)));
      store(carry, load(carry) + kept * (dq * r));
    }
    carry_.template write_operands<2>(i, n, 0, 0, slots + kReset * s_.P);
    if (carry_.normalizes_rows()) {
      carry_.template input_back<3>(i, n, kGruInputOrder, slots, slots);
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  int64_t direction_;
  Block block_;
  BackPanels panels_;
  bool norms_only_;
  GeneralCarry<Operand> carry_;
  Zoneout zoneout_;
  float* row_ = nullptr;  // with norms_only_: [4][P] this thread's slots of one row
  PartTerms terms_ = {};  // likewise
};

}  // namespace grunlock::GRUNLOCK_ISA
