// What is the GRU's own in gradients.hpp.
#pragma once

#include "gradients.hpp"
#include "gru_backward.hpp"

namespace grunlock::GRUNLOCK_ISA {

template <class OperandType>
class GruCell {
 public:
  using Operand = OperandType;
  static constexpr int64_t kGates = 3;
  static constexpr int64_t kSlots = 4;             // of a saved row; the first kGates are those of the input gates
  static constexpr const int* kInputOrder = kGruInputOrder;

  explicit GruCell(const Call& call) : call_(call), general_(is_general(call)) {}

  // Where a gate's gradients lie in a saved row: those of the input's part, and of the state's part.
  int64_t input_slot(int64_t gate) const { return gate == 2 ? kCandidate : kReset + gate; }
  int64_t recurrent_slot(int64_t gate) const {
    return gate < 2 ? kReset + gate : call_.reset_after ? kStateCandidate : kCandidate;
  }

  // Where the gradients of the input's parts lie after the way back in time, a row for each packed row.
  RowsSource input_rows(const Direction& d, const Shape& s) const {
    if (keeps_norms_only(call_) && !normalizes_vectors(call_)) {
      return {NormRows::input(d, s, 0), NormRows::stride(s)};
    }
    return {d.saved, kSlots * s.P};
  }

  // What weight_hh was multiplied with for this gate, row by row of `saved`; nullptr: the masked states.
  const float* saved_operands(const Direction& d, const Shape& s, int64_t gate) const {
    return call_.reset_after || gate < 2 ? nullptr : d.saved + kStateCandidate * s.P;  // r * masked h
  }

  int64_t shared_size(const Shape& s, int64_t rows) const {
    return general_ ? GeneralBackwardUnit<Operand>::shared_size(s, rows) : BackwardUnit<Operand>::shared_size(s, rows);
  }

  void pack_state_panel(const Direction& d, const Shape& s, int64_t panel, float* panels) const {
    static constexpr int kOrder[] = {0, 1, 2};
    if (call_.reset_after) {
      pack_column_panel<Operand>(d.weight_hh, s.H, s.H, s.tiles, kOrder, 3, panel, panels);
    } else {
      pack_column_panel<Operand>(d.weight_hh, s.H, s.H, s.tiles, kOrder, 2, panel, panels);
      pack_column_panel<Operand>(d.weight_hh, s.H, s.H, s.tiles, kOrder + 2, 1, panel, candidate_panels(s, panels));
    }
  }

  // A block of sequences backward in time; saved activations become gradients.
  void run_block(const Shape& s, int64_t direction, Block block, float* panels, NormSums sums, float* shared,
                 Team& members) const {
    if (general_) {
      const BackPanels back{panels, candidate_panels(s, panels)};
      GeneralBackwardUnit<Operand>(call_, s, direction, block, back, sums, shared).run(members);
    } else {
      BackwardUnit<Operand>(call_, s, direction, block, panels, shared).run(members);
    }
  }

 private:
  static float* candidate_panels(const Shape& s, float* panels) { return panels + 2 * s.P * s.P / Operand::kPerWord; }

  const Call& call_;
  bool general_;
};

template <class Operand>
void gru_backward_as(const Call& call) {
  const GruCell<Operand> cell(call);
  Gradients<GruCell<Operand>>(call, cell).run();
}

inline void gru_backward(const Call& call) {
  if (call.precision == GRUNLOCK_BFLOAT16) {
    gru_backward_as<Bfloat16>(call);
  } else {
    gru_backward_as<Float32>(call);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
