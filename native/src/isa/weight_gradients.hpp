// Products over all rows, after the backward in time: gradients of weights, biases and inputs.
#pragma once

#include "gru_backward.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr int64_t kSumRows = 128;  // packed rows summed at a time

// Rows whose outer products are summed: gradients [count, stride] on the left, states or inputs on the right.
template <class Right>
struct RowSum {
  const float* left;    // gradients of the first wanted unit
  int64_t left_stride;  // floats from row to row
  int64_t num_rows;
  int64_t units;    // wanted, at most kStripUnits
  int64_t readable;  // floats of a left row that may be read, at least `units`
  int64_t columns;  // of a right row
  Right right;      // right(n, mask) gives row n or nullptr for zeros, and its mask or nullptr
};

constexpr int64_t kStripUnits = 64;

template <class Operand>
GRUNLOCK_INLINE void pack_left(const float* left, int64_t stride, int64_t rows, int64_t width, int64_t readable,
                               float* target, Floats* totals) {
  for (int64_t k = 0; k < rows; k += Operand::kPerWord) {
    for (int64_t v = 0; v < width / kLanes; ++v) {
      const Floats first = load_first(left + k * stride + v * kLanes, readable - v * kLanes);
      Floats second = splat(0.0f);
      totals[v] = totals[v] + first;
      if (Operand::kPerWord == 2 && k + 1 < rows) {
        second = load_first(left + (k + 1) * stride + v * kLanes, readable - v * kLanes);
        totals[v] = totals[v] + second;
      }
      store_pair<Operand>(target + k / Operand::kPerWord * width + v * kLanes, first, second);
    }
  }
}

GRUNLOCK_INLINE Floats load_masked(const float* row, const float* mask, int64_t column, int64_t columns) {
  const Floats value = load_state(row, column, columns);
  return mask == nullptr ? value : value * load_first(mask + column, columns - column);
}

template <class Operand, class Right>
void pack_right(const Right& right, int64_t first_row, int64_t rows, int64_t columns, float* target) {
  const int64_t num_vectors = round_up(columns, kLanes) / kLanes;
  const int64_t num_words = words<Operand>(rows);
  for (int64_t k = 0; k < rows; k += Operand::kPerWord) {
    const float* masks[2] = {nullptr, nullptr};
    const float* values[2] = {right(first_row + k, &masks[0]), nullptr};
    if (Operand::kPerWord == 2 && k + 1 < rows) {
      values[1] = right(first_row + k + 1, &masks[1]);
    }
    for (int64_t v = 0; v < num_vectors; ++v) {
      const int64_t panel = v / kPanelVectors;
      const int64_t width = panel_vectors(panel, num_vectors) * kLanes;
      float* place = target + panel * kPanelVectors * kLanes * num_words + k / Operand::kPerWord * width +
                     v % kPanelVectors * kLanes;
      store_pair<Operand>(place, load_masked(values[0], masks[0], v * kLanes, columns),
                          load_masked(values[1], masks[1], v * kLanes, columns));
    }
  }
}

// sums [units, columns] = left^T @ right and bias [units] = sum of left; either may be nullptr.
template <class Operand, class Right>
void sum_rows(const RowSum<Right>& job, float* sums, float* bias) {
  const int64_t width = round_up(job.units, kLanes);
  const int64_t columns = round_up(job.columns, kLanes);
  const int64_t num_vectors = columns / kLanes;
  const int64_t most_words = words<Operand>(kSumRows);
  const bool in_place = sums != nullptr && columns == job.columns;  // no padding: the result is summed where it belongs
  const int64_t result_size = in_place ? 0 : width * columns;
  Pieces pieces(thread_scratch(Pieces::size(result_size) + Pieces::size(most_words * width) +
                               Pieces::size(most_words * columns)));
  float* room = pieces.take(result_size);
  float* result = in_place ? sums : room;
  float* left = pieces.take(most_words * width);
  float* right = pieces.take(most_words * columns);
  Floats totals[kStripUnits / kLanes];
  std::fill(totals, totals + width / kLanes, splat(0.0f));
  for (int64_t first = 0; first < job.num_rows; first += kSumRows) {
    const int64_t rows = std::min(kSumRows, job.num_rows - first);
    const int64_t num_words = words<Operand>(rows);
    pack_left<Operand>(job.left + first * job.left_stride, job.left_stride, rows, width, job.readable, left, totals);
    if (sums == nullptr) {
      continue;
    }
    pack_right<Operand>(job.right, first, rows, job.columns, right);
    for (int64_t panel = 0; panel * kPanelVectors < num_vectors; ++panel) {
      const int64_t column = panel * kPanelVectors * kLanes;
      multiply_panel_of<Operand, Order::kStepMajor>(panel_vectors(panel, num_vectors), job.units, left, width,
                                                    right + column * num_words, num_words, result + column, columns,
                                                    first > 0);
    }
  }
  for (int64_t unit = 0; unit < job.units; ++unit) {
    if (sums != nullptr && !in_place) {
      std::memcpy(sums + unit * job.columns, result + unit * columns, static_cast<size_t>(job.columns) * 4);
    }
    if (bias != nullptr) {
      bias[unit] = totals[unit / kLanes][unit % kLanes];
    }
  }
}

// As multiply_back for few rows, straight from the weight: nothing is packed. D must be a multiple of kLanes. order: the
// gate of each input slot.
inline void multiply_back_unpacked(const float* gradients, int64_t stride, int64_t rows, const Shape& s,
                                   const float* weight_ih, const int* order, bool accumulate, float* drows) {
  constexpr int64_t kVectors = 4;  // columns at a time: whole cache lines of each row of the weight
  for (int64_t first = 0; first < s.D; first += kVectors * kLanes) {
    const int64_t vectors = std::min(kVectors, (s.D - first) / kLanes);
    Floats totals[kUnpackedRows][kVectors] = {};
    for (int64_t slot = 0; slot < s.gates; ++slot) {
      const float* weight = weight_ih + order[slot] * s.H * s.D + first;
      for (int64_t unit = 0; unit < s.H; ++unit) {
        for (int64_t i = 0; i < rows; ++i) {
          const float gradient = gradients[i * stride + slot * s.P + unit];
          for (int64_t v = 0; v < vectors; ++v) {
            totals[i][v] = load(weight + unit * s.D + v * kLanes) * gradient + totals[i][v];
          }
        }
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t v = 0; v < vectors; ++v) {
        float* target = drows + i * s.D + first + v * kLanes;
        store(target, accumulate ? load(target) + totals[i][v] : totals[i][v]);
      }
    }
  }
}

// drows (+)= gradients [rows, gP] @ weight_ih for some rows; panels from pack_column_panel.
template <class Operand>
void multiply_back(const float* gradients, int64_t stride, int64_t rows, const Shape& s, const float* panels,
                   bool accumulate, float* drows) {
  const int64_t operand_stride = s.gates * s.P / Operand::kPerWord;
  const int64_t num_vectors = round_up(s.D, kLanes) / kLanes;
  Pieces pieces(thread_scratch(Pieces::size(rows * kPanelVectors * kLanes) + Pieces::size(rows * operand_stride)));
  float* product = pieces.take(rows * kPanelVectors * kLanes);
  float* operands = pieces.take(rows * operand_stride);
  for (int64_t i = 0; i < rows; ++i) {
    copy_operands<Operand>(gradients + i * stride, nullptr, s.gates * s.P, operands + i * operand_stride);
  }
  for (int64_t panel = 0; panel * kPanelVectors < num_vectors; ++panel) {
    const int vectors = panel_vectors(panel, num_vectors);
    const int64_t first = panel * kPanelVectors * kLanes;
    multiply_long_panel<Operand, Order::kRowMajor>(vectors, rows, operands, operand_stride,
                                                   panels + first * operand_stride, operand_stride, product,
                                                   vectors * kLanes, false);
    for (int64_t i = 0; i < rows; ++i) {
      for (int v = 0; v < vectors; ++v) {
        const int64_t column = first + v * kLanes;
        float* target = drows + i * s.D + column;
        Floats value = load(product + (i * vectors + v) * kLanes);
        if (accumulate) {
          value = value + load_first(target, s.D - column);
        }
        store_first(target, value, s.D - column);
      }
    }
  }
}

// sums[index[n]] += rows[n] (times its sequence's mask) for a share of the vectors that make up a row.
struct Scatter {
  const float* rows;
  int64_t stride;
  int64_t columns;
  const int64_t* index;  // nullptr: n
  float* sums;           // [U, columns]

  void run(const Share& vectors, int64_t num_rows, int64_t num_sums) const {
    const int64_t begin = vectors.begin * kLanes;
    const int64_t end = std::min(vectors.end * kLanes, columns);
    for (int64_t u = 0; u < num_sums && begin < end; ++u) {
      std::fill(sums + u * columns + begin, sums + u * columns + end, 0.0f);
    }
    for (int64_t n = 0; n < num_rows; ++n) {
      float* target = sums + (index == nullptr ? n : index[n]) * columns;
      for (int64_t column = begin; column < end; column += kLanes) {
        const Floats total = load_first(target + column, end - column) +
                             load_first(rows + n * stride + column, end - column);
        store_first(target + column, total, end - column);
      }
    }
  }
};

}  // namespace grunlock::GRUNLOCK_ISA
