// The window product of grunlock_window.h, forward and backward. Equations: grunlock/kernels/window.py.
//
// Where each row has a vector of its own, its window is one long row and the product one sum over all of it. Where rows
// share vectors, each vector is multiplied with all W_k once, into a table [U, KO] whose parts rows add up; gradients go
// the same way back. What is left is the product of some rows with `parts` weights of `units` units each.
#pragma once

#include "weight_gradients.hpp"

namespace grunlock::GRUNLOCK_ISA {

using WindowCall = grunlock_window_call;

constexpr int64_t kParallelProduct = 8 << 20;  // multiply-adds worth waking a thread: some 60 us of one

// Where the neighbours of a packed row lie.
class Neighbours {
 public:
  explicit Neighbours(const WindowCall& call) : T_(call.num_steps), starts_(call.num_steps + 1), steps_(call.num_rows) {
    starts_[0] = 0;
    for (int64_t t = 0; t < T_; ++t) {
      starts_[t + 1] = starts_[t] + call.batch_sizes[t];
      for (int64_t n = starts_[t]; n < starts_[t + 1]; ++n) {
        steps_[n] = static_cast<int32_t>(t);
      }
    }
  }

  // The row of the same sequence `shift` steps after row n, or -1.
  int64_t at(int64_t n, int64_t shift) const {
    const int64_t t = steps_[n] + shift;
    if (t < 0 || t >= T_) {
      return -1;
    }
    const int64_t row = starts_[t] + n - starts_[steps_[n]];
    return row < starts_[t + 1] ? row : -1;
  }

 private:
  int64_t T_;
  Array<int64_t> starts_;  // [T + 1] first packed row of each step
  Array<int32_t> steps_;   // [N] step of each row
};

// Whether row n is vector n.
inline bool reads_in_order(const WindowCall& call) {
  bool in_order = call.index == nullptr || call.num_vectors == call.num_rows;
  for (int64_t n = 0; call.index != nullptr && in_order && n < call.num_rows; ++n) {
    in_order = call.index[n] == n;
  }
  return in_order;
}

class WindowProduct {
 public:
  explicit WindowProduct(const WindowCall& call)
      : call_(call),
        neighbours_(call),
        D_(call.input_size),
        with_table_(!reads_in_order(call)),
        rows_(with_table_ ? call.num_vectors : call.num_rows),
        parts_(with_table_ ? 1 : call.window_steps),
        units_(with_table_ ? call.window_steps * call.output_size : call.output_size),
        blocks_((rows_ + kBlockRows - 1) / kBlockRows) {}

  void forward() {
    take_scratch(round_up(units_, kLanes) * parts_ * D_);
    run_team(threads(), [this](Team& team) { forward_body(team); });
  }

  void backward() {
    take_scratch(call_.dvectors == nullptr ? 0 : round_up(D_, kLanes) * parts_ * units_);
    run_team(threads(), [this](Team& team) { backward_body(team); });
  }

 private:
  struct Rows {
    const float* data;
    int64_t stride;  // floats from row to row
  };

  int threads() const { return rows_ * parts_ * units_ * D_ < kParallelProduct ? 1 : num_threads(); }

  void take_scratch(int64_t panels) {
    const int64_t table = with_table_ ? rows_ * units_ : 0;
    Pieces pieces(call_scratch(Pieces::size(panels) + Pieces::size(table)));
    panels_ = pieces.take(panels);
    table_ = pieces.take(table);
  }

  void forward_body(Team& team) {
    const int64_t vectors = round_up(units_, kLanes) / kLanes;
    for (int64_t panel = team.rank(); panel * kPanelVectors < vectors; panel += team.size()) {
      pack_units(panel, panel_vectors(panel, vectors));
    }
    team.barrier();
    const Rows vector_rows{call_.vectors, D_};
    float* target = with_table_ ? table_ : call_.output;
    const int64_t stride = with_table_ ? units_ : call_.output_stride;
    for (int64_t block; (block = next_job_.fetch_add(1, std::memory_order_relaxed)) < blocks_;) {
      multiply_block(block, vector_rows, D_, 1, units_, with_table_ ? nullptr : call_.bias, target, stride);
    }
    if (with_table_) {
      team.barrier();
      add_up(Share(call_.num_rows, team.rank(), team.size()));
    }
  }

  void backward_body(Team& team) {
    const int64_t vectors = round_up(D_, kLanes) / kLanes;
    for (int64_t panel = team.rank(); call_.dvectors != nullptr && panel * kPanelVectors < vectors;
         panel += team.size()) {
      pack_inputs(panel, panel_vectors(panel, vectors));
    }
    if (with_table_) {
      spread_gradients(Share((call_.output_size + kLanes - 1) / kLanes, team.rank(), team.size()));
    }
    team.barrier();
    const Rows gradients = with_table_ ? Rows{table_, units_} : Rows{call_.doutput, call_.doutput_stride};
    const int64_t sums = parts_ * num_strips();
    const int64_t jobs = sums + (call_.dvectors == nullptr ? 0 : blocks_);
    for (int64_t job; (job = next_job_.fetch_add(1, std::memory_order_relaxed)) < jobs;) {
      if (job < sums) {
        sum_weight(gradients, job / num_strips(), job % num_strips() * kStripUnits);
      } else {
        multiply_block(job - sums, gradients, units_, -1, D_, nullptr, call_.dvectors, D_);
      }
    }
  }

  // Panel of units for the forward: k runs over the inputs of each part in turn.
  void pack_units(int64_t panel, int vectors) {
    const int64_t first = panel * kPanelVectors * kLanes;
    float* target = panels_ + first * parts_ * D_;
    for (int64_t part = 0; part < parts_; ++part) {
      for (int v = 0; v < vectors; ++v) {
        const float* rows[kLanes];
        unit_rows(call_.weight, units_, D_, part, first + v * kLanes, rows);
        pack_vector<Float32>(rows, D_, target + (part * D_ * vectors + v) * kLanes, vectors * kLanes);
      }
    }
  }

  // Panel of inputs for the backward: k runs over the units of each part in turn.
  void pack_inputs(int64_t panel, int vectors) {
    const int64_t first = panel * kPanelVectors * kLanes;
    float* target = panels_ + first * parts_ * units_;
    for (int64_t k = 0; k < parts_ * units_; ++k) {
      for (int64_t column = first; column < first + vectors * kLanes; column += kLanes, target += kLanes) {
        store(target, load_first(call_.weight + k * D_ + column, D_ - column));
      }
    }
  }

  // Row after row of a block what a window over `source` holds, `width` floats for each part, going on or back in time.
  Rows windows(int64_t first, int64_t count, const Rows& source, int64_t width, int direction, float* room) const {
    if (with_table_ || (parts_ == 1 && call_.offsets[0] == 0)) {
      return {source.data + first * source.stride, source.stride};
    }
    float* target = room;
    for (int64_t n = first; n < first + count; ++n) {
      for (int64_t part = 0; part < parts_; ++part, target += width) {
        const int64_t row = neighbours_.at(n, direction * call_.offsets[part]);
        if (row < 0) {
          std::fill(target, target + width, 0.0f);
        } else {
          std::memcpy(target, source.data + row * source.stride, static_cast<size_t>(width) * sizeof(float));
        }
      }
    }
    return {room, parts_ * width};
  }

  // target [., columns] = windows over source @ panels (+ bias), for the rows of a block.
  void multiply_block(int64_t block, const Rows& source, int64_t width, int direction, int64_t columns,
                      const float* bias, float* target, int64_t stride) const {
    const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows_ - first);
    const int64_t k = parts_ * width, num_vectors = round_up(columns, kLanes) / kLanes;
    Pieces pieces(thread_scratch(Pieces::size(count * k) + Pieces::size(count * kPanelVectors * kLanes)));
    const Rows a = windows(first, count, source, width, direction, pieces.take(count * k));
    float* room = pieces.take(count * kPanelVectors * kLanes);
    target += first * stride;
    for (int64_t panel = 0; panel * kPanelVectors < num_vectors; ++panel) {
      const int vectors = panel_vectors(panel, num_vectors);
      const int64_t column = panel * kPanelVectors * kLanes;
      const bool in_place = column + vectors * kLanes <= columns;
      float* product = in_place ? target + column : room;
      const int64_t product_stride = in_place ? stride : vectors * kLanes;
      multiply_long_panel<Float32, Order::kRowMajor>(vectors, count, a.data, a.stride, panels_ + column * k, k, product,
                                                     product_stride, false);
      for (int64_t i = 0; (bias != nullptr || !in_place) && i < count; ++i) {
        for (int64_t at = column; at < column + vectors * kLanes; at += kLanes) {
          const Floats value = load(product + i * product_stride + at - column);
          const Floats added = bias == nullptr ? splat(0.0f) : load_first(bias + at, columns - at);
          store_first(target + i * stride + at, value + added, columns - at);
        }
      }
    }
  }

  // The table's parts that a share of the rows needs, summed.
  void add_up(const Share& share) const {
    const int64_t O = call_.output_size;
    for (int64_t n = share.begin; n < share.end; ++n) {
      float* target = call_.output + n * call_.output_stride;
      std::memcpy(target, call_.bias, static_cast<size_t>(O) * sizeof(float));
      for (int64_t k = 0; k < call_.window_steps; ++k) {
        const int64_t row = neighbours_.at(n, call_.offsets[k]);
        const float* part = row < 0 ? nullptr : table_ + call_.index[row] * units_ + k * O;
        for (int64_t column = 0; part != nullptr && column < O; column += kLanes) {
          const int64_t left = O - column;
          store_first(target + column, load_first(target + column, left) + load_first(part + column, left), left);
        }
      }
    }
  }

  // Back from rows to the table, and the bias's gradient, for a share of the vectors that make up a row.
  void spread_gradients(const Share& share) const {
    const int64_t O = call_.output_size, begin = share.begin * kLanes, end = std::min(share.end * kLanes, O);
    for (int64_t column = begin; column < end; column += kLanes) {
      for (int64_t i = 0; i < rows_ * call_.window_steps; ++i) {
        store_first(table_ + i * O + column, splat(0.0f), end - column);
      }
    }
    for (int64_t column = begin; call_.dbias != nullptr && column < end; column += kLanes) {
      store_first(call_.dbias + column, splat(0.0f), end - column);
    }
    for (int64_t n = 0; n < call_.num_rows && begin < end; ++n) {
      const float* gradients = call_.doutput + n * call_.doutput_stride;
      for (int64_t k = 0; k < call_.window_steps; ++k) {
        const int64_t row = neighbours_.at(n, call_.offsets[k]);
        if (row >= 0) {
          add_columns(table_ + call_.index[row] * units_ + k * O, gradients, begin, end);
        }
      }
      if (call_.dbias != nullptr) {
        add_columns(call_.dbias, gradients, begin, end);
      }
    }
  }

  static void add_columns(float* to, const float* from, int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; column += kLanes) {
      const int64_t left = end - column;
      store_first(to + column, load_first(to + column, left) + load_first(from + column, left), left);
    }
  }

  int64_t num_strips() const { return (units_ + kStripUnits - 1) / kStripUnits; }

  // Gradients of a strip of units of one part.
  void sum_weight(const Rows& gradients, int64_t part, int64_t first) const {
    const auto right = [&](int64_t n, const float**) -> const float* {
      const int64_t row = with_table_ ? n : neighbours_.at(n, call_.offsets[part]);
      return row < 0 ? nullptr : call_.vectors + row * D_;
    };
    const int64_t units = std::min(kStripUnits, units_ - first);
    const RowSum<decltype(right)> job{gradients.data + first, gradients.stride, rows_, units, units, D_, right};
    float* dweight = call_.dweight == nullptr ? nullptr : call_.dweight + (part * units_ + first) * D_;
    float* dbias = call_.dbias == nullptr || with_table_ || part > 0 ? nullptr : call_.dbias + first;
    if (dweight != nullptr || dbias != nullptr) {
      sum_rows<Float32>(job, dweight, dbias);
    }
  }

  const WindowCall& call_;
  Neighbours neighbours_;
  int64_t D_;
  bool with_table_;
  int64_t rows_, parts_, units_;
  int64_t blocks_;
  float* panels_ = nullptr;
  float* table_ = nullptr;  // [U, KO]
  std::atomic<int64_t> next_job_{0};
};

inline void window_forward(const WindowCall& call) { WindowProduct(call).forward(); }

inline void window_backward(const WindowCall& call) { WindowProduct(call).backward(); }

}  // namespace grunlock::GRUNLOCK_ISA
