// Small matrix products whose result tile stays in registers: C[M, vectors] (+)= A[M, K] B[K, vectors].
//
// B is packed in panels of a few vectors: panel p holds, for each k in turn, its vectors side by side. Operands come in
// 32-bit words of one float, two bfloat16 or four int8 along k; K counts words. Every result is one sum over k in rising
// order, whatever the tile it falls in: results do not depend on how rows or columns are divided.
#pragma once

#include <algorithm>

#include "vector.hpp"

namespace grunlock::GRUNLOCK_ISA {

struct Float32 {
  using Sum = Floats;
  static constexpr int kPerWord = 1;
  static GRUNLOCK_INLINE Sum multiply_add(Sum total, const float* a, Floats b) { return splat(*a) * b + total; }
};

struct Bfloat16 {
  using Sum = Floats;
  static constexpr int kPerWord = 2;
  static GRUNLOCK_INLINE Sum multiply_add(Sum total, const float* a, Floats b) {
    uint32_t bits;
    std::memcpy(&bits, a, sizeof bits);
    const Words pair = splat_word(bits);
#if defined(__AVX512BF16__)
    return reinterpret_cast<Floats>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(total), reinterpret_cast<__m512bh>(pair),
                                                     reinterpret_cast<__m512bh>(b)));
#else
    const Words high = splat_word(0xffff0000u);
    total = as_floats(pair << 16) * as_floats(as_words(b) << 16) + total;
    return as_floats(pair & high) * as_floats(as_words(b) & high) + total;
#endif
  }
};

// a: four unsigned bytes, b: four signed bytes.
struct Int8 {
  using Sum = Ints;
  static constexpr int kPerWord = 4;
  static GRUNLOCK_INLINE Sum multiply_add(Sum total, const float* a, Floats b) {
    uint32_t bits;
    std::memcpy(&bits, a, sizeof bits);
#if defined(__AVX512VNNI__)
    return reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(total),
                                                      _mm512_set1_epi32(static_cast<int>(bits)),
                                                      reinterpret_cast<__m512i>(b)));
#else
    const Ints weights = as_ints(b);
    for (int byte = 0; byte < 4; ++byte) {
      const Ints weight = (weights << (24 - 8 * byte)) >> 24;  // sign-extended
      total += weight * splat_as<Ints>(static_cast<int32_t>((bits >> (8 * byte)) & 0xffu));
    }
    return total;
#endif
  }
};

#if GRUNLOCK_LANES == 16 || defined(__aarch64__)  // 32 vector registers
constexpr int kPanelVectors = 4;
constexpr int max_rows(int vectors) { return vectors == 4 ? 6 : 8; }
#else  // 16
constexpr int kPanelVectors = 2;
constexpr int max_rows(int vectors) { return vectors == 3 ? 4 : vectors == 2 ? 6 : 8; }
#endif
constexpr int kGateVectors = 3;  // a gate panel: one vector of units for each of the three gates

// How A lies: element (row, k) is a[row * stride + k], or a[k * stride + row].
enum class Order { kRowMajor, kStepMajor };

template <class Operand, Order order, int rows, int vectors>
void multiply_tile(const float* a, int64_t stride, const float* b, int64_t num_words, float* c, int64_t c_stride,
                   bool accumulate) {
  using Sum = typename Operand::Sum;
  Sum total[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      if (accumulate) {
        std::memcpy(&total[r][v], c + r * c_stride + v * kLanes, sizeof(Sum));
      } else {
        total[r][v] = Sum{};
      }
    }
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < num_words; ++k) {
    Floats panel[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      panel[v] = load(b + (k * vectors + v) * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const float* element = order == Order::kRowMajor ? a + r * stride + k : a + k * stride + r;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        total[r][v] = Operand::multiply_add(total[r][v], element, panel[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      std::memcpy(c + r * c_stride + v * kLanes, &total[r][v], sizeof(Sum));
    }
  }
}

// One row of A against several neighbouring panels at once: enough sums to hide the latency of each.
template <class Operand, int panels, int vectors>
void multiply_row(const float* a, const float* b, int64_t panel_words, int64_t num_words, float* c,
                  int64_t c_panel_stride) {
  using Sum = typename Operand::Sum;
  Sum total[panels][vectors] = {};
  for (int64_t k = 0; k < num_words; ++k) {
#pragma GCC unroll 8
    for (int p = 0; p < panels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const float* vector = b + p * panel_words + (k * vectors + v) * kLanes;
        total[p][v] = Operand::multiply_add(total[p][v], a + k, load(vector));
      }
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < panels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      std::memcpy(c + p * c_panel_stride + v * kLanes, &total[p][v], sizeof(Sum));
    }
  }
}

template <class Operand, Order order, int vectors, int rows = max_rows(vectors)>
GRUNLOCK_INLINE void multiply_some_rows(int64_t wanted, const float* a, int64_t stride, const float* b,
                                        int64_t num_words, float* c, int64_t c_stride, bool accumulate) {
  if constexpr (rows > 0) {
    if (wanted == rows) {
      multiply_tile<Operand, order, rows, vectors>(a, stride, b, num_words, c, c_stride, accumulate);
    } else {
      multiply_some_rows<Operand, order, vectors, rows - 1>(wanted, a, stride, b, num_words, c, c_stride, accumulate);
    }
  }
}

// One panel of `vectors` vectors against all rows, in tiles as even as possible: a tile of one row takes as long as a
// tile of several, because its sums wait for each other.
template <class Operand, Order order, int vectors>
void multiply_panel(int64_t num_rows, const float* a, int64_t stride, const float* b, int64_t num_words, float* c,
                    int64_t c_stride, bool accumulate) {
  constexpr int64_t kRows = max_rows(vectors);
  const int64_t row_step = order == Order::kRowMajor ? stride : 1;
  for (int64_t tiles = (num_rows + kRows - 1) / kRows; tiles > 0; --tiles) {
    const int64_t rows = (num_rows + tiles - 1) / tiles;
    multiply_some_rows<Operand, order, vectors>(rows, a, stride, b, num_words, c, c_stride, accumulate);
    num_rows -= rows;
    a += rows * row_step;
    c += rows * c_stride;
  }
}

// Panels of kPanelVectors, the last one maybe narrower; c columns follow the vectors.
template <class Operand, Order order>
void multiply_panel_of(int vectors, int64_t num_rows, const float* a, int64_t stride, const float* b,
                       int64_t num_words, float* c, int64_t c_stride, bool accumulate) {
  switch (vectors) {
    case 1:
      return multiply_panel<Operand, order, 1>(num_rows, a, stride, b, num_words, c, c_stride, accumulate);
    case 2:
      return multiply_panel<Operand, order, 2>(num_rows, a, stride, b, num_words, c, c_stride, accumulate);
#if GRUNLOCK_LANES == 16 || defined(__aarch64__)
    case 3:
      return multiply_panel<Operand, order, 3>(num_rows, a, stride, b, num_words, c, c_stride, accumulate);
    case 4:
      return multiply_panel<Operand, order, 4>(num_rows, a, stride, b, num_words, c, c_stride, accumulate);
#endif
    default:
      __builtin_unreachable();
  }
}

constexpr int64_t kStepWords = 128;  // words of k at a time: that much of a panel stays in the level 1 cache

// c (+)= a @ panel over all words of k, some at a time.
template <class Operand, Order order>
void multiply_long_panel(int vectors, int64_t rows, const float* a, int64_t stride, const float* panel,
                         int64_t num_words, float* c, int64_t c_stride, bool accumulate) {
  for (int64_t k = 0; k < num_words; k += kStepWords) {
    multiply_panel_of<Operand, order>(vectors, rows, order == Order::kRowMajor ? a + k : a + k * stride, stride,
                                      panel + k * vectors * kLanes, std::min(kStepWords, num_words - k), c, c_stride,
                                      accumulate || k > 0);
  }
}

// Most gate panels that one row is multiplied with at a time: sums enough to hide the latency of each.
constexpr int kRowPanels = 4;

// How many of them: fewer where they would not stay in the level 1 cache together.
inline int64_t row_panels(int64_t panel_words) {
  constexpr int64_t kCacheWords = 12 * 1024;
  return kRowPanels * panel_words > kCacheWords ? kRowPanels / 2 : kRowPanels;
}

// As many of the panels from `begin` on as go by groups of `panels`, then by smaller groups.
template <class Operand, int vectors, int panels = kRowPanels>
void multiply_row_groups(const float* a, const float* b, int64_t num_words, int64_t begin, int64_t end, float* c,
                         int64_t c_panel_stride) {
  const int64_t panel_words = num_words * vectors * kLanes;
  int64_t p = begin;
  for (; p + panels <= end; p += panels) {
    multiply_row<Operand, panels, vectors>(a, b + p * panel_words, panel_words, num_words,
                                           c + (p - begin) * c_panel_stride, c_panel_stride);
  }
  if constexpr (panels > 1) {
    multiply_row_groups<Operand, vectors, panels / 2>(a, b, num_words, p, end, c + (p - begin) * c_panel_stride,
                                             c_panel_stride);
  }
}

// Gate panels [begin, end): c holds, per panel, its vectors; c_panel_stride floats from panel to panel.
template <class Operand, int vectors = kGateVectors>
void multiply_gates(int64_t num_rows, const float* a, int64_t stride, const float* panels, int64_t num_words,
                    int64_t begin, int64_t end, float* c, int64_t c_stride, int64_t c_panel_stride) {
  const int64_t panel_words = num_words * vectors * kLanes;
  if (num_rows == 1) {
    return multiply_row_groups<Operand, vectors>(a, panels, num_words, begin, end, c, c_panel_stride);
  }
  for (int64_t p = begin; p < end; ++p) {
    multiply_panel<Operand, Order::kRowMajor, vectors>(num_rows, a, stride, panels + p * panel_words, num_words,
                                                       c + (p - begin) * c_panel_stride, c_stride, false);
  }
}

// As multiply_gates for one tile, straight from weight [3H, size]: slower than from a panel, but nothing is packed.
inline void multiply_gates_unpacked(int64_t num_rows, const float* a, int64_t stride, const float* weight,
                                    int64_t hidden_size, int64_t size, int64_t tile, float* c, int64_t c_stride) {
  constexpr int kAtOnce = 4;  // rows of the weight: sums enough to hide the latency of each
  static_assert(kLanes % kAtOnce == 0);
  for (int64_t first = 0; first < kGateVectors * kLanes; first += kAtOnce) {
    const int64_t gate = first / kLanes;
    const int64_t unit = tile * kLanes + first % kLanes;
    const int64_t units = std::min<int64_t>(kAtOnce, hidden_size - unit);
    const float* row = weight + (gate * hidden_size + std::min(unit, hidden_size - 1)) * size;
    for (int64_t r = 0; r < num_rows; ++r) {
      Floats total[kAtOnce] = {};
      for (int64_t k = 0; k < size; k += kLanes) {
        const Floats x = load_first(a + r * stride + k, size - k);
        for (int i = 0; i < kAtOnce; ++i) {
          total[i] = load_first(row + (i < units ? i : 0) * size + k, size - k) * x + total[i];
        }
      }
      for (int i = 0; i < kAtOnce; ++i) {
        c[r * c_stride + first + i] = i < units ? sum(total[i]) : 0.0f;
      }
    }
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
