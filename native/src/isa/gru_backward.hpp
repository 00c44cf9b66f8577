// The GRU backward in time. Only dh runs through time; the gradients of the gates replace the saved activations row by
// row, and every product over rows waits for weight_gradients.hpp.
#pragma once

#include "layout.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Where a row's saved activations lie, and what replaces them. Input gates have gradients 0 to 2, recurrent ones 1 to 3.
enum Slot : int64_t {
  kCandidate = 0,       // n         -> gradient of tanh's argument
  kReset = 1,           // r         -> gradient of sigmoid's argument
  kUpdate = 2,          // z         -> gradient of sigmoid's argument
  kStateCandidate = 3,  // a_n       -> its gradient
};

constexpr int kGruInputOrder[] = {2, 0, 1};  // gates as the slots of the input's part lie

// Equations (5) and (6) backward: from dh to the gradients of z and n, and what goes straight to h_prev.
struct StateGradients {
  Floats update, candidate, previous;
};

GRUNLOCK_INLINE StateGradients state_gradients(const Zoneout& zoneout, int64_t n, uint32_t key, int64_t column,
                                               Floats dh, Floats h_prev, Floats z, Floats candidate) {
  Floats kept = splat(0.0f);
  if (zoneout.kind != GRUNLOCK_ZONEOUT_OFF) {
    kept = zoneout.keep(n, key, column) * dh;
    dh = dh - kept;
  }
  return {dh * (h_prev - candidate), dh * (1.0f - z), dh * z + kept};
}

// The state before row (t, sequence): a row of output, of h0, or nullptr for zero.
inline const float* previous_state(const Call& call, const Shape& s, int64_t direction, int64_t t, int64_t sequence) {
  const int64_t before = direction == 1 ? t + 1 : t - 1;
  if (before >= 0 && sequence < s.active(before)) {
    return call.output + (s.start(before) + sequence) * s.output_stride + direction * s.H;
  }
  const float* h0 = call.directions[direction].h0;
  return h0 == nullptr ? nullptr : h0 + sequence * s.H;
}

GRUNLOCK_INLINE Floats load_state(const float* row, int64_t column, int64_t hidden_size) {
  return row == nullptr ? splat(0.0f) : load_first(row + column, hidden_size - column);
}

template <class Operand>
class BackwardUnit {
 public:
  // panels: weight_hh by pack_column_panel, gates in their own order. shared: shared_size floats.
  BackwardUnit(const Call& call, const Shape& shape, int64_t direction, Block block, const float* panels,
               float* shared)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        direction_(direction),
        block_(block),
        panels_(panels),
        carry_(shared),
        zoneout_(call.directions[direction], shape.H) {
    const int64_t rows = block.rows(shape.B);
    gradients_[0] = shared + rows * shape.P;
    gradients_[1] = gradients_[0] + rows * gradient_stride();
  }

  static int64_t shared_size(const Shape& s, int64_t rows) { return rows * (s.P + 2 * 3 * s.P); }

  void run(Team& team) {
    const int64_t num_panels = (s_.tiles + kPanelVectors - 1) / kPanelVectors;
    const Share panels(num_panels, team.rank(), team.size());
    const Share tiles = tiles_of(panels);
    float* product = thread_scratch(block_.rows(s_.B) * kPanelVectors * kLanes);
    start_carry(tiles);
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
    write_initial(tiles);
  }

 private:
  int64_t gradient_stride() const { return 3 * s_.P / Operand::kPerWord; }

  Share tiles_of(Share panels) const {
    panels.begin *= kPanelVectors;
    panels.end = std::min(panels.end * kPanelVectors, s_.tiles);
    return panels;
  }

  void start_carry(const Share& tiles) {
    for (int64_t i = 0; i < block_.rows(s_.B); ++i) {
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        const float* row = d_.dfinal == nullptr ? nullptr : d_.dfinal + block_.sequence(i) * s_.H;
        store(carry_ + i * s_.P + column, load_state(row, column, s_.H));
      }
    }
  }

  void gate_gradients(int64_t t, const Share& tiles, float* gradients) {
    for (int64_t i = 0; i < block_.rows(s_.active(t)); ++i) {
      const int64_t sequence = block_.sequence(i);
      const int64_t n = s_.start(t) + sequence;
      const uint32_t key = zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(n) : 0;
      const float* h_prev = previous_state(call_, s_, direction_, t, sequence);
      const float* doutput = call_.doutput + n * s_.output_stride + direction_ * s_.H;
      float* saved = d_.saved + n * 4 * s_.P;
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        float* carry = carry_ + i * s_.P + column;
        const Floats candidate = load(saved + kCandidate * s_.P + column);
        const Floats r = load(saved + kReset * s_.P + column);
        const Floats z = load(saved + kUpdate * s_.P + column);
        const Floats a_n = load(saved + kStateCandidate * s_.P + column);
        const Floats dh = load(carry) + load_first(doutput + column, s_.H - column);
        const StateGradients d =
            state_gradients(zoneout_, n, key, column, dh, load_state(h_prev, column, s_.H), z, candidate);
        const Floats dn = d.candidate * (1.0f - candidate * candidate);
        const Floats da_n = dn * r;
        const Floats dr = (dn * a_n) * (r * (1.0f - r));
        const Floats dz = d.update * (z * (1.0f - z));
        store(carry, d.previous);
        store(saved + kCandidate * s_.P + column, dn);
        store(saved + kReset * s_.P + column, dr);
        store(saved + kUpdate * s_.P + column, dz);
        store(saved + kStateCandidate * s_.P + column, da_n);
        float* operands = gradients + i * gradient_stride();
        store_operand<Operand>(operands, column, dr);
        store_operand<Operand>(operands, s_.P + column, dz);
        store_operand<Operand>(operands, 2 * s_.P + column, da_n);
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

  void write_initial(const Share& tiles) {
    for (int64_t i = 0; d_.dh0 != nullptr && i < block_.rows(s_.B); ++i) {
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        store_first(d_.dh0 + block_.sequence(i) * s_.H + column, load(carry_ + i * s_.P + column), s_.H - column);
      }
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  int64_t direction_;
  Block block_;
  const float* panels_;
  float* carry_;          // [rows, P] gradient of the state that the step at hand gave
  float* gradients_[2];   // [rows, 3P] operands of reset, update, candidate; two, so that one barrier a step will do
  Zoneout zoneout_;
};

}  // namespace grunlock::GRUNLOCK_ISA
