// Weights, rows and gradients in the layouts that multiply.hpp reads.
#pragma once

#include <cstdlib>
#include <new>

#include "multiply.hpp"

namespace grunlock::GRUNLOCK_ISA {

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

template <class Operand>
constexpr int64_t words(int64_t count) {
  return (count + Operand::kPerWord - 1) / Operand::kPerWord;
}

// Floats that stay allocated, so that a call finds its memory warm; grows only. Not copied, not zeroed.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  float* floats(int64_t count) {
    if (count > capacity_) {
      std::free(data_);
      capacity_ = 0;
      const size_t bytes = static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(float)), 64));
      data_ = static_cast<float*>(std::aligned_alloc(64, bytes));
      if (data_ == nullptr) {
        throw std::bad_alloc();
      }
      capacity_ = count;
    }
    return data_;
  }

 private:
  float* data_ = nullptr;
  int64_t capacity_ = 0;
};

// A fixed number of values. Not std::vector: its functions would be shared between instruction sets by the linker.
template <class Value>
class Array {
 public:
  explicit Array(int64_t count)
      : data_(static_cast<Value*>(std::malloc(static_cast<size_t>(count) * sizeof(Value) + 1))) {
    if (data_ == nullptr) {
      throw std::bad_alloc();
    }
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { std::free(data_); }

  Value& operator[](int64_t i) { return data_[i]; }
  const Value& operator[](int64_t i) const { return data_[i]; }

 private:
  Value* data_;
};

// Hands out aligned pieces of one Scratch.
class Pieces {
 public:
  explicit Pieces(float* data) : next_(data) {}

  float* take(int64_t count) {
    float* piece = next_;
    next_ += round_up(count, 16);
    return piece;
  }

  static int64_t size(int64_t count) { return round_up(count, 16); }

 private:
  float* next_;
};

// Writes v as operands at columns [column, column + kLanes) of a row of words.
template <class Operand>
GRUNLOCK_INLINE void store_operand(float* row, int64_t column, Floats v);

template <>
GRUNLOCK_INLINE void store_operand<Float32>(float* row, int64_t column, Floats v) {
  store(row + column, v);
}

template <>
GRUNLOCK_INLINE void store_operand<Bfloat16>(float* row, int64_t column, Floats v) {
  const Halves halves = to_bfloat16(v);
  std::memcpy(reinterpret_cast<char*>(row) + 2 * column, &halves, sizeof halves);
}

// x[count] (times mask, if given) as operands, zero up to the next multiple of GRUNLOCK_ROW_PAD columns. Returns what an
// operand of 1 stands for.
template <class Operand>
float copy_operands(const float* x, const float* mask, int64_t count, float* row) {
  for (int64_t column = 0; column < round_up(count, GRUNLOCK_ROW_PAD); column += kLanes) {
    const int64_t left = std::max<int64_t>(count - column, 0);
    Floats v = load_first(x + column, left);
    if (mask != nullptr) {
      v = v * load_first(mask + column, left);
    }
    store_operand<Operand>(row, column, v);
  }
  return 1.0f;
}

// One word of a panel from the `per word` values at x[0], x[stride], ...; those at or past `count` are zero.
template <class Operand>
GRUNLOCK_INLINE float word_of(const float* x, int64_t stride, int64_t count) {
  if constexpr (Operand::kPerWord == 1) {
    return count > 0 ? *x : 0.0f;
  } else {
    uint32_t bits = 0;
    for (int i = 0; i < 2; ++i) {
      if (i < count) {
        uint32_t value;
        std::memcpy(&value, x + i * stride, sizeof value);
        const bool is_nan = x[i * stride] != x[i * stride];
        value = is_nan ? (value >> 16) | 0x40u : (value + 0x7fffu + ((value >> 16) & 1u)) >> 16;
        bits |= value << (16 * i);
      }
    }
    float word;
    std::memcpy(&word, &bits, sizeof word);
    return word;
  }
}

// VL words of a row from x on: the first of `count` values, zero behind them.
template <class Operand>
GRUNLOCK_INLINE Floats load_words(const float* x, int64_t count) {
  if constexpr (Operand::kPerWord == 1) {
    return load_first(x, count);
  } else {
    const Halves parts[2] = {to_bfloat16(load_first(x, count)),
                             to_bfloat16(count > kLanes ? load_first(x + kLanes, count - kLanes) : splat(0.0f))};
    Floats words;
    std::memcpy(&words, parts, sizeof words);
    return words;
  }
}

// rows[i][j] becomes rows[j][i].
template <int half = 1>
GRUNLOCK_INLINE void transpose(Floats* rows) {
  if constexpr (half < kLanes) {
    // Exchanges, in every pair of rows `half` apart, the blocks of `half` lanes off the diagonal.
    static constexpr LaneOrder kLow([](int lane) { return (lane & half) == 0 ? lane : kLanes + lane - half; });
    static constexpr LaneOrder kHigh([](int lane) { return (lane & half) == 0 ? lane + half : kLanes + lane; });
    const Ints low = kLow.load(), high = kHigh.load();
#pragma GCC unroll 16
    for (int row = 0; row < kLanes; ++row) {
      if ((row & half) == 0) {
        const Floats first = rows[row];
        const Floats second = rows[row + half];
        rows[row] = shuffle(first, second, low);
        rows[row + half] = shuffle(first, second, high);
      }
    }
    transpose<2 * half>(rows);
  }
}

// One vector of units in a panel, all k. rows: of the weight, contiguous along k, nullptr for padding. step: floats from
// word to word of the panel.
template <class Operand>
void pack_vector(const float* const* rows, int64_t size, float* target, int64_t step) {
  const int64_t num_words = words<Operand>(size);
  for (int64_t first = 0; first < num_words; first += kLanes) {
    Floats block[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t k = first * Operand::kPerWord;
      block[lane] = rows[lane] == nullptr ? splat(0.0f) : load_words<Operand>(rows[lane] + k, size - k);
    }
    transpose<>(block);
    for (int64_t i = 0; i < std::min<int64_t>(kLanes, num_words - first); ++i) {
      store(target + (first + i) * step, block[i]);
    }
  }
}

// Rows of weight [gH, size] for units [first, first + kLanes) of one gate.
inline void unit_rows(const float* weight, int64_t hidden_size, int64_t size, int64_t gate, int64_t first,
                      const float** rows) {
  for (int lane = 0; lane < kLanes; ++lane) {
    rows[lane] = first + lane < hidden_size ? weight + (gate * hidden_size + first + lane) * size : nullptr;
  }
}

// Units [tile * kLanes, ...) of every gate of weight [gH, size], `vectors` gates to a panel, panel after panel.
template <class Operand, int gates = kGateVectors, int vectors = kGateVectors>
void pack_gate_panel(const float* weight, int64_t hidden_size, int64_t size, int64_t tile, float* panels) {
  const int64_t vector_words = words<Operand>(size) * kLanes;
  for (int gate = 0; gate < gates; ++gate) {
    float* panel = panels + (tile * gates + gate / vectors * vectors) * vector_words;
    const float* rows[kLanes];
    unit_rows(weight, hidden_size, size, gate, tile * kLanes, rows);
    pack_vector<Operand>(rows, size, panel + gate % vectors * kLanes, vectors * kLanes);
  }
}

// A unit's bias of one gate; nothing for padding.
inline float bias_of(const float* bias, int64_t hidden_size, int gate, int64_t unit) {
  return bias == nullptr || unit >= hidden_size ? 0.0f : bias[gate * hidden_size + unit];
}

inline int panel_vectors(int64_t panel, int64_t num_vectors) {
  return static_cast<int>(std::min<int64_t>(kPanelVectors, num_vectors - panel * kPanelVectors));
}

// Panel `panel` of `num_vectors` vectors for products with the transposed weight [gH, size]: its columns are the panel's
// vectors, zero behind `size`; k runs over `num_gates` gates in the order given, each padded to P rows.
template <class Operand>
void pack_column_panel(const float* weight, int64_t hidden_size, int64_t size, int64_t num_vectors, const int* gates,
                       int num_gates, int64_t panel, float* panels) {
  const int64_t padded = round_up(hidden_size, GRUNLOCK_ROW_PAD);
  const int64_t num_words = words<Operand>(num_gates * padded);
  const int vectors = panel_vectors(panel, num_vectors);
  const int64_t first = panel * kPanelVectors * kLanes;
  const int64_t columns = std::min<int64_t>(vectors * kLanes, size - first);
  float* target = panels + first * num_words;
  for (int g = 0; g < num_gates; ++g) {
    const float* rows = weight + gates[g] * hidden_size * size + first;
    for (int64_t k = 0; k < padded; k += Operand::kPerWord, target += vectors * kLanes) {
      int64_t column = 0;
      for (; column < columns; ++column) {
        target[column] = word_of<Operand>(rows + k * size + column, size, hidden_size - k);
      }
      for (; column < vectors * kLanes; ++column) {
        target[column] = 0.0f;
      }
    }
  }
}

// Rows x[0] and x[1] (or one alone) side by side along k, for sums over rows.
template <class Operand>
GRUNLOCK_INLINE void store_pair(float* target, Floats first, Floats second) {
  if constexpr (Operand::kPerWord == 1) {
    store(target, first);
  } else {
    const Words low = __builtin_convertvector(to_bfloat16(first), Words);
    const Words high = __builtin_convertvector(to_bfloat16(second), Words);
    store(target, as_floats(low | (high << 16)));
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
