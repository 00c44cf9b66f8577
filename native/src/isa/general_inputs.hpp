// The input's part of the gates, for layers whose gates are finished row by row: once per distinct vector in a table, or
// for the rows of a few steps at a time, so that they are still in a cache when they are read.
#pragma once

#include "general_tables.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Where the gates lie in a row, [gates][P] and their norms' scales behind them: as in NormRows, norms or not.
struct InputLayout {
  explicit InputLayout(const Shape& s) : stride(NormRows::stride(s)), scales(s.gates * s.P) {
    for (int64_t gate = 0; gate < s.gates; ++gate) {
      const int64_t slot = s.gates == 3 ? (gate + 1) % 3 : gate;  // a GRU's: see Slot
      offsets[gate] = slot * s.P;
    }
  }

  int64_t stride;  // floats from row to row
  int64_t scales;
  int64_t offsets[4] = {};
};

// Whether there is a table of the distinct vectors' gates.
inline bool has_gates_table(const Call& call) { return call.index != nullptr && call.input_mask == nullptr; }

// Its first row: what is kept for the way back, or scratch [U, stride].
inline float* gates_table(const Shape& s, const Direction& d, float* scratch) {
  return d.saved_norm == nullptr ? scratch : NormRows::input(d, s, 0);
}

inline void normalize_input(const Shape& s, const InputLayout& layout, float* x, const Keeper* keeper, float* kept) {
  float* scales = kept == nullptr ? x + layout.scales : kept + layout.scales;
  s.gates == 3 ? normalize_gates<3>(x, s, scales, keeper, kept) : normalize_gates<4>(x, s, scales, keeper, kept);
}

template <class Operand>
void fill_gates_table(const Call& call, const Shape& s, const Direction& d, const UnitPanels& panels, const Share& share,
                      float* table) {
  const InputLayout layout(s);
  const int64_t stride = round_up(s.D, GRUNLOCK_ROW_PAD) / Operand::kPerWord;
  float* operands = thread_scratch(kChunkRows * stride);
  for (int64_t first = share.begin; first < share.end; first += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, share.end - first);
    for (int64_t i = 0; i < rows; ++i) {
      copy_operands<Operand>(call.rows + (first + i) * s.D, nullptr, s.D, operands + i * stride);
    }
    float* target = table + first * layout.stride;
    multiply_units<Operand>(panels, 0, s.gates, rows, operands, stride, 0, 1, layout.offsets, target, layout.stride);
    for (int64_t i = 0; d.norm_weight_ih != nullptr && i < rows; ++i) {
      normalize_input(s, layout, target + i * layout.stride, nullptr, nullptr);
    }
  }
}

// What a direction of a general layer reads in every step.
struct GeneralWeights {
  UnitPanels recurrent;  // of weight_hh
  UnitPanels input;      // of weight_ih
  const float* table;    // nullptr: there is none
  PartTerms terms;
};

// The gates of a thread's share of a block, step by step.
template <class Operand>
class InputGates {
 public:
  InputGates(const Call& call, const Shape& shape, int64_t direction, Block block, const GeneralWeights& weights,
             const Keeper& keeper)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        reverse_(direction == 1),
        block_(block),
        weights_(weights),
        keeper_(keeper),
        layout_(shape) {}

  const int64_t* offsets() const { return layout_.offsets; }

  // Reserves this thread's memory, which nothing else may ask for until the last step is done.
  void start(const Team& team) {
    rank_ = team.rank();
    size_ = team.size();
    if (weights_.table == nullptr) {
      const int64_t most_rows = kChunkRows + block_.rows(s_.B);
      Pieces pieces(thread_scratch(Pieces::size(most_rows * layout_.stride) + most_rows * operand_stride()));
      gates_ = pieces.take(most_rows * layout_.stride);
      operands_ = pieces.take(most_rows * operand_stride());
    }
  }

  // To be called for every step, in turn.
  void begin_step(int64_t step) {
    const Share share = share_of(step);
    first_row_ += last_rows_;
    if (weights_.table == nullptr && step == chunk_end_) {
      project(step);
      first_row_ = 0;
    }
    last_rows_ = share.end - share.begin;
    share_begin_ = share.begin;
  }

  // Of packed row n, which is row i of the block in this step.
  const float* row(int64_t n, int64_t i) const {
    return weights_.table == nullptr ? gates_ + (first_row_ + i - share_begin_) * layout_.stride
                                     : weights_.table + call_.index[n] * layout_.stride;
  }

 private:
  int64_t time(int64_t step) const { return reverse_ ? s_.T - 1 - step : step; }
  int64_t operand_stride() const { return round_up(s_.D, GRUNLOCK_ROW_PAD) / Operand::kPerWord; }
  Share share_of(int64_t step) const { return Share(block_.rows(s_.active(time(step))), rank_, size_); }

  // visit(row, sequence, packed row) for the rows from `step` on, some kChunkRows of them. Returns the first step left out.
  template <class Visit>
  int64_t each_row(int64_t step, const Visit& visit) const {
    int64_t row = 0;
    while (step < s_.T && row < kChunkRows) {
      const Share share = share_of(step);
      const int64_t start = s_.start(time(step++));
      for (int64_t i = share.begin; i < share.end; ++i, ++row) {
        visit(row, block_.sequence(i), start + block_.sequence(i));
      }
    }
    return step;
  }

  void project(int64_t step) {
    int64_t rows = 0;
    chunk_end_ = each_row(step, [&](int64_t row, int64_t sequence, int64_t n) {
      const float* mask = call_.input_mask == nullptr ? nullptr : call_.input_mask + sequence * s_.D;
      copy_operands<Operand>(input_row(call_, n), mask, s_.D, operands_ + row * operand_stride());
      rows = row + 1;
    });
    multiply_units<Operand>(weights_.input, 0, s_.gates, rows, operands_, operand_stride(), 0, 1, layout_.offsets, gates_,
                            layout_.stride);
    if (d_.norm_weight_ih != nullptr) {
      each_row(step, [&](int64_t row, int64_t, int64_t n) {
        float* kept = d_.saved_norm == nullptr ? nullptr : NormRows::input(d_, s_, n);
        normalize_input(s_, layout_, gates_ + row * layout_.stride, &keeper_, kept);
      });
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  bool reverse_;
  Block block_;
  const GeneralWeights& weights_;
  const Keeper& keeper_;
  InputLayout layout_;
  int rank_ = 0;
  int size_ = 1;
  float* gates_ = nullptr;     // [rows of some steps, stride]
  float* operands_ = nullptr;  // [rows of some steps, D padded]
  int64_t chunk_end_ = 0;      // first step whose gates are not there yet
  int64_t first_row_ = 0;      // of this step, in gates_
  int64_t last_rows_ = 0;      // of this step
  int64_t share_begin_ = 0;    // this step's first row of the block
};

}  // namespace grunlock::GRUNLOCK_ISA
