// The elementwise gated recurrence of grunlock_scan.h, forward and backward. Equations: grunlock/kernels/scan.py.
//
// Sequences and units never meet, so the work is cut into tiles of both, and a tile goes through all steps by itself.
// A forward reads the old state where the step before wrote it; a backward computes gates again instead of reading
// them from memory, which would take longer.
#pragma once

#include <algorithm>

#include "../kernels.hpp"
#include "vector.hpp"

namespace grunlock::GRUNLOCK_ISA {

using ScanCall = grunlock_scan_call;

constexpr int64_t kTileFloats = 4096;  // states of a tile: they stay in the level 1 cache
constexpr int64_t kTileColumns = 1024;  // most units of a tile
constexpr int64_t kColumnUnit = 64;  // tiles begin at multiples, so that a unit always has the same place in a vector
constexpr int64_t kScanParallelFloats = 1 << 14;  // of a call: fewer are done before a thread is awake

alignas(64) constexpr float kNoFloats[kTileColumns] = {};  // a row where the caller has none

// Sequences [first, last), units [left, left + width).
struct Tile {
  int64_t first, last, left, width;
};

struct Tiling {
  Tiling(const ScanCall& call, int threads) : B(call.batch_sizes[0]), H(call.hidden_size) {
    columns = std::clamp((H + kColumnUnit - 1) / kColumnUnit * kColumnUnit, kColumnUnit, kTileColumns);
    rows = kTileFloats / columns;
    while (count() < 2 * threads && threads > 1) {  // rather short columns than short rows, which lie in one piece
      if (rows > 4) {
        rows /= 2;
      } else if (columns > kColumnUnit) {
        columns = (columns / 2 + kColumnUnit - 1) / kColumnUnit * kColumnUnit;
      } else if (rows > 1) {
        rows /= 2;
      } else {
        break;
      }
    }
  }

  int64_t across() const { return (H + columns - 1) / columns; }
  int64_t count() const { return across() * ((B + rows - 1) / rows); }

  // Those of the longest sequences first: the last ones to be taken are short.
  Tile tile(int64_t i) const {
    const int64_t first = i / across() * rows, left = i % across() * columns;
    return {first, std::min(first + rows, B), left, std::min(columns, H - left)};
  }

  int64_t B, H, rows, columns;
};

// One after the other all steps, from the first or from the last, and what lies around the packed rows of one.
class Steps {
 public:
  Steps(const ScanCall& call, bool from_last) : call_(call), from_last_(from_last) {
    t_ = from_last ? call.num_steps - 1 : 0;
    start_ = from_last ? call.num_rows - active(t_) : 0;
  }

  bool running() const { return t_ >= 0 && t_ < call_.num_steps; }
  int64_t active() const { return active(t_); }
  int64_t row(int64_t sequence) const { return start_ + sequence; }

  void next() {
    if (from_last_) {
      --t_;
      start_ -= t_ < 0 ? 0 : active(t_);
    } else {
      start_ += active(t_);
      ++t_;
    }
  }

  // Whether the recurrence begins or ends here for a sequence.
  bool begins(int64_t sequence) const { return call_.reverse != 0 ? sequence >= active(t_ + 1) : t_ == 0; }
  bool ends(int64_t sequence) const { return call_.reverse != 0 ? t_ == 0 : sequence >= active(t_ + 1); }

  // The packed row with the state before, where the recurrence does not begin.
  int64_t row_before(int64_t sequence) const {
    return sequence + (call_.reverse != 0 ? start_ + active(t_) : start_ - active(t_ - 1));
  }

 private:
  int64_t active(int64_t t) const { return t < call_.num_steps ? call_.batch_sizes[t] : 0; }

  const ScanCall& call_;
  bool from_last_;
  int64_t t_;
  int64_t start_;  // first packed row of the step
};

// One sequence's units [left, ...) of a dense [B, H], or zeros where there is none.
inline const float* row_or_zeros(const ScanCall& call, const Tile& tile, const float* rows, int64_t sequence) {
  return rows == nullptr ? kNoFloats : rows + sequence * call.hidden_size + tile.left;
}

inline const float* old_state(const ScanCall& call, const Tile& tile, const Steps& steps, int64_t sequence) {
  return steps.begins(sequence) ? row_or_zeros(call, tile, call.h0, sequence)
                                : call.state + steps.row_before(sequence) * call.state_stride + tile.left;
}

inline void copy_floats(float* to, const float* from, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// The tile's part of a packed row, nullptr where there is no array.
template <class Float>
Float* part_of_row(Float* rows, int64_t stride, const Tile& tile, int64_t row) {
  return rows == nullptr ? nullptr : rows + row * stride + tile.left;
}

// One packed row of a tile in all arrays that a step of either way reads.
struct ScanRow {
  ScanRow(const ScanCall& call, const Tile& tile, const Steps& steps, int64_t sequence)
      : keep(part_of_row(call.keep, call.keep_stride, tile, steps.row(sequence))),
        candidate(part_of_row(call.candidate, call.candidate_stride, tile, steps.row(sequence))),
        third(part_of_row(call.third, call.third_stride, tile, steps.row(sequence))),
        h_prev(old_state(call, tile, steps, sequence)),
        state(part_of_row(call.state, call.state_stride, tile, steps.row(sequence))) {}

  const float *keep, *candidate, *third, *h_prev;
  float* state;
};

template <int n>
GRUNLOCK_INLINE void load_each(Floats* v, const float* p, int64_t count) {
  each<n>([&](int j) { v[j] = load_first(p + j * kLanes, count - j * kLanes); });
}

template <int n>
GRUNLOCK_INLINE void store_each(float* p, const Floats* v, int64_t count) {
  each<n>([&](int j) { store_first(p + j * kLanes, v[j], count - j * kLanes); });
}

// Gates of n vectors. third is the QRNN's output gate or the minLSTM's input gate, forget the minLSTM's.
template <int64_t cell, int n>
struct ScanGates {
  GRUNLOCK_INLINE ScanGates(const ScanRow& row, int64_t column, int64_t count) {
    load_each<n>(keep, row.keep + column, count);
    load_each<n>(candidate, row.candidate + column, count);
    if constexpr (cell != GRUNLOCK_SCAN_MINGRU) {
      load_each<n>(third, row.third + column, count);
    }
    if constexpr (cell != GRUNLOCK_SCAN_MINLSTM) {
      sigmoid<n>(keep);
    }
    if constexpr (cell == GRUNLOCK_SCAN_QRNN) {
      tanh<n>(candidate);
      sigmoid<n>(third);
    }
    if constexpr (cell == GRUNLOCK_SCAN_MINLSTM) {
      const Floats lowest = splat(-80.0f);  // two gates that vanish would leave 0 / 0
      each<n>([&](int j) { forget[j] = keep[j] < lowest ? lowest : keep[j]; });
      each<n>([&](int j) { third[j] = third[j] < lowest ? lowest : third[j]; });
      sigmoid<n>(forget);
      sigmoid<n>(third);
      each<n>([&](int j) { keep[j] = forget[j] / (forget[j] + third[j]); });
    }
  }

  Floats keep[n], candidate[n], third[n], forget[n];
};

template <int64_t cell, int n>
GRUNLOCK_INLINE void forward_columns(const ScanRow& row, float* output, int64_t column, int64_t count) {
  const ScanGates<cell, n> gates(row, column, count);
  Floats h[n];
  load_each<n>(h, row.h_prev + column, count);
  each<n>([&](int j) { h[j] = gates.candidate[j] + gates.keep[j] * (h[j] - gates.candidate[j]); });
  store_each<n>(row.state + column, h, count);
  if constexpr (cell == GRUNLOCK_SCAN_QRNN) {
    each<n>([&](int j) { h[j] = h[j] * gates.third[j]; });
    store_each<n>(output + column, h, count);
  }
}

// Calls step.columns<n>(column, count) for all `width` units.
template <class Step>
GRUNLOCK_INLINE void for_columns(int64_t width, const Step& step) {
  int64_t column = 0;
  for (; column + kAtOnce * kLanes <= width; column += kAtOnce * kLanes) {
    step.template columns<kAtOnce>(column, kAtOnce * kLanes);
  }
  for (; column < width; column += kLanes) {
    step.template columns<1>(column, width - column);
  }
}

template <int64_t cell>
struct ForwardStep {
  template <int n>
  GRUNLOCK_INLINE void columns(int64_t column, int64_t count) const {
    forward_columns<cell, n>(row, output, column, count);
  }

  ScanRow row;
  float* output;
};

template <int64_t cell>
void forward_tile(const ScanCall& call, const Tile& tile) {
  for (Steps steps(call, call.reverse != 0); steps.running(); steps.next()) {
    const int64_t last = std::min(tile.last, steps.active());
    for (int64_t b = tile.first; b < last; ++b) {
      const ScanRow row(call, tile, steps, b);
      float* output = part_of_row(call.output, call.output_stride, tile, steps.row(b));
      for_columns(tile.width, ForwardStep<cell>{row, output});
      if (call.final != nullptr && steps.ends(b)) {
        copy_floats(call.final + b * call.hidden_size + tile.left, row.state, tile.width);
      }
    }
  }
}

template <int64_t cell>
struct BackwardStep {
  BackwardStep(const ScanCall& call, const Tile& tile, const Steps& steps, int64_t b, float* carried)
      : row(call, tile, steps, b),
        doutput(call.doutput == nullptr ? kNoFloats
                                        : part_of_row(call.doutput, call.doutput_stride, tile, steps.row(b))),
        carry(carried),
        dkeep(part_of_row(call.dkeep, call.dkeep_stride, tile, steps.row(b))),
        dcandidate(part_of_row(call.dcandidate, call.dcandidate_stride, tile, steps.row(b))),
        dthird(part_of_row(call.dthird, call.dthird_stride, tile, steps.row(b))) {}

  template <int n>
  GRUNLOCK_INLINE void columns(int64_t column, int64_t count) const {
    const Floats one = splat(1.0f);
    const ScanGates<cell, n> g(row, column, count);
    Floats dh[n], carried[n], dk[n], dc[n];
    load_each<n>(dh, doutput + column, count);
    load_each<n>(carried, carry + column, count);
    load_each<n>(dk, row.h_prev + column, count);
    if constexpr (cell == GRUNLOCK_SCAN_QRNN) {
      back_through_output<n>(g, dh, column, count);
    }
    each<n>([&](int j) { dh[j] = dh[j] + carried[j]; });
    each<n>([&](int j) { dk[j] = dh[j] * (dk[j] - g.candidate[j]); });
    each<n>([&](int j) { dc[j] = dh[j] * (one - g.keep[j]); });
    each<n>([&](int j) { carried[j] = dh[j] * g.keep[j]; });
    each<n>([&](int j) { dk[j] = dk[j] * (g.keep[j] * (one - g.keep[j])); });
    if constexpr (cell == GRUNLOCK_SCAN_QRNN) {
      each<n>([&](int j) { dc[j] = dc[j] * (one - g.candidate[j] * g.candidate[j]); });
    }
    if constexpr (cell == GRUNLOCK_SCAN_MINLSTM) {
      Floats di[n];
      each<n>([&](int j) { di[j] = dk[j] * (g.third[j] - one); });
      each<n>([&](int j) { dk[j] = dk[j] * (one - g.forget[j]); });
      store_each<n>(dthird + column, di, count);
    }
    store_each<n>(carry + column, carried, count);
    store_each<n>(dkeep + column, dk, count);
    store_each<n>(dcandidate + column, dc, count);
  }

  // QRNN: from the output's gradient in dh to the state's, and the output gate's.
  template <int n>
  GRUNLOCK_INLINE void back_through_output(const ScanGates<cell, n>& g, Floats* dh, int64_t column,
                                           int64_t count) const {
    Floats d_o[n];
    load_each<n>(d_o, row.state + column, count);
    each<n>([&](int j) { d_o[j] = (dh[j] * d_o[j]) * (g.third[j] * (splat(1.0f) - g.third[j])); });
    each<n>([&](int j) { dh[j] = dh[j] * g.third[j]; });
    store_each<n>(dthird + column, d_o, count);
  }

  ScanRow row;
  const float* doutput;
  float *carry, *dkeep, *dcandidate, *dthird;
};

template <int64_t cell>
void backward_tile(const ScanCall& call, const Tile& tile) {
  alignas(64) float carries[kTileFloats];  // of each sequence, [width]
  for (Steps steps(call, call.reverse == 0); steps.running(); steps.next()) {
    const int64_t last = std::min(tile.last, steps.active());
    for (int64_t b = tile.first; b < last; ++b) {
      float* carry = carries + (b - tile.first) * tile.width;
      if (steps.ends(b)) {
        copy_floats(carry, row_or_zeros(call, tile, call.dfinal, b), tile.width);
      }
      for_columns(tile.width, BackwardStep<cell>(call, tile, steps, b, carry));
      if (call.dh0 != nullptr && steps.begins(b)) {
        copy_floats(call.dh0 + b * call.hidden_size + tile.left, carry, tile.width);
      }
    }
  }
}

using TileFunction = void (*)(const ScanCall& call, const Tile& tile);

inline void run_tiles(const ScanCall& call, TileFunction function) {
  const bool small = call.num_rows * call.hidden_size < kScanParallelFloats;
  struct Work {
    const ScanCall& call;
    TileFunction function;
    Tiling tiling;
  } work{call, function, Tiling(call, small ? 1 : num_threads())};
  const auto run = [](void* context, int64_t i) {
    const Work& it = *static_cast<const Work*>(context);
    it.function(it.call, it.tiling.tile(i));
  };
  if (small) {
    for (int64_t i = 0; i < work.tiling.count(); ++i) {
      run(&work, i);
    }
  } else {
    parallel_for(work.tiling.count(), run, &work);
  }
}

inline void scan_forward(const ScanCall& call) {
  constexpr TileFunction kCells[] = {
      forward_tile<GRUNLOCK_SCAN_MINGRU>, forward_tile<GRUNLOCK_SCAN_QRNN>, forward_tile<GRUNLOCK_SCAN_MINLSTM>};
  run_tiles(call, kCells[call.cell]);
}

inline void scan_backward(const ScanCall& call) {
  constexpr TileFunction kCells[] = {
      backward_tile<GRUNLOCK_SCAN_MINGRU>, backward_tile<GRUNLOCK_SCAN_QRNN>, backward_tile<GRUNLOCK_SCAN_MINLSTM>};
  run_tiles(call, kCells[call.cell]);
}

}  // namespace grunlock::GRUNLOCK_ISA
