// A GRU layer to compute, and its values by plain loops in double. A problem's arrays are heap blocks of exactly their
// sizes, so that AddressSanitizer sees a read or write of one float too many.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grunlock_gru.h"

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435769u + 88172645463325252u) {}

  double uniform() {  // from -1 to 1; xorshift64 (Marsaglia 2003)
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<double>(state_ >> 11) / 4503599627370496.0 - 1.0;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>((uniform() + 1.0) / 2.0 * static_cast<double>(n)) % n; }

 private:
  uint64_t state_;
};

// count floats and not one more; none is a null pointer.
class Floats {
 public:
  Floats() = default;
  explicit Floats(int64_t count) : data_(new float[static_cast<size_t>(count)]()), count_(count) {}
  Floats(int64_t count, Random& random, double scale) : Floats(count) {
    for (int64_t i = 0; i < count; ++i) data_[static_cast<size_t>(i)] = static_cast<float>(random.uniform() * scale);
  }

  float* get() const { return data_.get(); }
  int64_t count() const { return count_; }
  float& operator[](int64_t i) const { return data_[static_cast<size_t>(i)]; }

 private:
  std::unique_ptr<float[]> data_;
  int64_t count_ = 0;
};

enum Option { kIndex = 1, kInputMask = 2, kStateMask = 4, kNorm = 8, kH0 = 16, kNoBias = 32, kResetBefore = 64,
              kBfloat16 = 128 };

struct Case {
  std::vector<int64_t> lengths;  // longest first
  int64_t input_size, hidden_size, num_directions;
  int options;
  int zoneout = GRUNLOCK_ZONEOUT_OFF;

  bool has(int option) const { return (options & option) != 0; }
  std::string name() const {
    return "B" + std::to_string(lengths.size()) + " T" + std::to_string(lengths[0]) + " D" +
           std::to_string(input_size) + " H" + std::to_string(hidden_size) + " x" + std::to_string(num_directions) +
           " options " + std::to_string(options) + " zoneout " + std::to_string(zoneout);
  }
};

// What a direction's call reads and can have gradients of, in the order of grunlock_gru_direction.
enum { kWeightIh, kWeightHh, kBiasIh, kBiasHh, kNormIh, kNormHh, kFirst, kParameters };

struct Direction {
  Floats parameters[kParameters];
  Floats state_mask, zoneout_mask;
};

constexpr double kRate = 0.3;

struct Problem {
  explicit Problem(const Case& given) : c(given) {
    for (int64_t t = 0; t < c.lengths[0]; ++t) {
      int64_t active = 0;
      while (active < B() && c.lengths[static_cast<size_t>(active)] > t) ++active;
      batch_sizes.push_back(active);
      starts.push_back(N);
      N += active;
    }
    Random random(static_cast<uint64_t>(N * 1000 + c.options));
    const int64_t H = c.hidden_size, D = c.input_size;
    U = c.has(kIndex) ? N / 3 + 1 : N;
    const double scale = 1.0 / std::sqrt(static_cast<double>(H));
    rows = Floats(U * D, random, 1.7);
    for (int64_t n = 0; c.has(kIndex) && n < N; ++n) index.push_back(random.below(U));
    if (c.has(kInputMask)) input_mask = mask(B() * D, random, 1.25f);
    for (int64_t i = 0; i < c.num_directions; ++i) {
      Direction& d = directions[i];
      d.parameters[kWeightIh] = Floats(3 * H * D, random, scale);
      d.parameters[kWeightHh] = Floats(3 * H * H, random, scale);
      for (int which : {kBiasIh, kBiasHh}) {
        if (!c.has(kNoBias)) d.parameters[which] = Floats(3 * H, random, scale);
      }
      for (int which : {kNormIh, kNormHh}) {
        if (c.has(kNorm)) d.parameters[which] = Floats(3 * H, random, 1.0);
      }
      if (c.has(kH0)) d.parameters[kFirst] = Floats(B() * H, random, 0.9);
      if (c.has(kStateMask)) d.state_mask = mask(B() * H, random, 1.25f);
      if (c.zoneout == GRUNLOCK_ZONEOUT_MASK) d.zoneout_mask = mask(N * H, random, 1.0f);
      dfinal[i] = Floats(B() * H, random, 1.0);
    }
    doutput = Floats(N * c.num_directions * H, random, 1.0);
  }

  int64_t B() const { return static_cast<int64_t>(c.lengths.size()); }

  static Floats mask(int64_t count, Random& random, float kept) {
    Floats result(count);
    for (int64_t i = 0; i < count; ++i) result[i] = random.uniform() < 0.6 ? kept : 0.0f;
    return result;
  }

  const Case& c;
  int64_t N = 0, U = 0;
  std::vector<int64_t> batch_sizes, starts, index;
  Floats rows, input_mask, doutput, dfinal[2];
  Direction directions[2];
};

// What a forward reads; the caller adds where it writes.
inline grunlock_gru_call call_of(const Problem& p) {
  grunlock_gru_call call = {};
  call.num_steps = p.c.lengths[0];
  call.num_rows = p.N;
  call.num_vectors = p.U;
  call.input_size = p.c.input_size;
  call.hidden_size = p.c.hidden_size;
  call.num_directions = p.c.num_directions;
  call.reset_after = p.c.has(kResetBefore) ? 0 : 1;
  call.precision = p.c.has(kBfloat16) ? GRUNLOCK_BFLOAT16 : GRUNLOCK_FLOAT32;
  call.batch_sizes = p.batch_sizes.data();
  call.rows = p.rows.get();
  call.index = p.c.has(kIndex) ? p.index.data() : nullptr;
  call.input_mask = p.input_mask.get();
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    const Direction& given = p.directions[i];
    grunlock_gru_direction& d = call.directions[i];
    const float** parameters[] = {&d.weight_ih,      &d.weight_hh,      &d.bias_ih, &d.bias_hh,
                                  &d.norm_weight_ih, &d.norm_weight_hh, &d.h0};
    for (int k = 0; k < kParameters; ++k) *parameters[k] = given.parameters[k].get();
    d.state_mask = given.state_mask.get();
    d.zoneout_mask = given.zoneout_mask.get();
    d.zoneout = p.c.zoneout;
    d.zoneout_rate = kRate;
    d.zoneout_seed = (uint64_t{5} << 32) + 77 + static_cast<uint64_t>(i);
  }
  return call;
}

using Doubles = std::vector<double>;

// One of a problem's arrays moved by `step` along `way`: gradients are slopes of the loss along such ways.
struct Move {
  const Floats* array = nullptr;
  const Doubles* way = nullptr;
  double step = 0.0;

  double at(const Floats& values, int64_t i) const {
    return values[i] + (&values == array ? step * (*way)[static_cast<size_t>(i)] : 0.0);
  }
};

inline uint32_t mix(uint32_t x) {  // see kernels/counter_random.py
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

inline double keep(const Problem& p, int64_t direction, int64_t n, int64_t j) {
  switch (p.c.zoneout) {
    case GRUNLOCK_ZONEOUT_RATE:
      return static_cast<float>(kRate);
    case GRUNLOCK_ZONEOUT_MASK:
      return p.directions[direction].zoneout_mask[n * p.c.hidden_size + j];
    case GRUNLOCK_ZONEOUT_DRAWN: {
      const uint32_t key = mix(mix((77u + static_cast<uint32_t>(direction)) ^ static_cast<uint32_t>(n)) + 5u);
      return mix(key ^ (static_cast<uint32_t>(j) * 0x9E3779B9u)) < static_cast<uint32_t>(kRate * 4294967296.0) ? 1.0
                                                                                                             : 0.0;
    }
    default:
      return 0.0;
  }
}

// The H sums of one gate: weight @ x, normalised with gain if there is one, plus bias.
inline Doubles gate(const Problem& p, const Move& move, const Direction& d, int recurrent, int64_t g,
                    const Doubles& x) {
  const int64_t H = p.c.hidden_size, K = static_cast<int64_t>(x.size());
  const Floats &weight = d.parameters[kWeightIh + recurrent], &bias = d.parameters[kBiasIh + recurrent],
               &gain = d.parameters[kNormIh + recurrent];
  Doubles sums(static_cast<size_t>(H));
  double mean = 0.0, variance = 0.0;
  for (int64_t j = 0; j < H; ++j) {
    double& sum = sums[static_cast<size_t>(j)];
    for (int64_t k = 0; k < K; ++k) sum += move.at(weight, (g * H + j) * K + k) * x[static_cast<size_t>(k)];
    mean += sum / static_cast<double>(H);
  }
  for (double sum : sums) variance += (sum - mean) * (sum - mean) / static_cast<double>(H);
  for (int64_t j = 0; j < H; ++j) {
    double& sum = sums[static_cast<size_t>(j)];
    if (gain.count() > 0) sum = (sum - mean) / std::sqrt(variance + 1e-5) * move.at(gain, g * H + j);
    if (bias.count() > 0) sum += move.at(bias, g * H + j);
  }
  return sums;
}

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

struct Solution {
  Doubles output;    // as a call's
  Doubles final[2];  // [B, H]
  double loss = 0.0;
};

inline Solution solve(const Problem& p, const Move& move) {
  const int64_t H = p.c.hidden_size, D = p.c.input_size, B = p.B(), T = p.c.lengths[0];
  Solution s;
  s.output.resize(static_cast<size_t>(p.N * p.c.num_directions * H));
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    const Direction& d = p.directions[i];
    Doubles& states = s.final[i];
    for (int64_t k = 0; k < B * H; ++k) {
      states.push_back(d.parameters[kFirst].count() > 0 ? move.at(d.parameters[kFirst], k) : 0.0);
    }
    for (int64_t step = 0; step < T; ++step) {
      const int64_t t = i == 1 ? T - 1 - step : step;
      for (int64_t b = 0; b < p.batch_sizes[static_cast<size_t>(t)]; ++b) {
        const int64_t n = p.starts[static_cast<size_t>(t)] + b;
        const int64_t u = p.c.has(kIndex) ? p.index[static_cast<size_t>(n)] : n;
        Doubles x, masked, kept_states;
        for (int64_t k = 0; k < D; ++k) {
          x.push_back(move.at(p.rows, u * D + k) * (p.c.has(kInputMask) ? p.input_mask[b * D + k] : 1.0f));
        }
        double* h = &states[static_cast<size_t>(b * H)];
        for (int64_t j = 0; j < H; ++j) masked.push_back(h[j] * (p.c.has(kStateMask) ? d.state_mask[b * H + j] : 1.0f));
        Doubles gates[3][2];
        for (int64_t g = 0; g < 3; ++g) {
          gates[g][0] = gate(p, move, d, 0, g, x);
          if (g < 2 || !p.c.has(kResetBefore)) gates[g][1] = gate(p, move, d, 1, g, masked);
        }
        Doubles r, z;
        for (size_t j = 0; j < masked.size(); ++j) {
          r.push_back(sigmoid(gates[0][0][j] + gates[0][1][j]));
          z.push_back(sigmoid(gates[1][0][j] + gates[1][1][j]));
        }
        if (p.c.has(kResetBefore)) {
          for (size_t j = 0; j < masked.size(); ++j) masked[j] *= r[j];
          gates[2][1] = gate(p, move, d, 1, 2, masked);
        }
        for (size_t j = 0; j < masked.size(); ++j) {
          const double a = gates[2][1][j];
          const double candidate = std::tanh(gates[2][0][j] + (p.c.has(kResetBefore) ? a : r[j] * a));
          const double state = candidate + z[j] * (h[j] - candidate);
          const int64_t column = static_cast<int64_t>(j);
          h[j] = state + keep(p, i, n, column) * (h[j] - state);
          const int64_t place = n * p.c.num_directions * H + i * H + column;
          s.output[static_cast<size_t>(place)] = h[j];
          s.loss += h[j] * p.doutput[place];
        }
      }
    }
    for (int64_t k = 0; k < B * H; ++k) s.loss += states[static_cast<size_t>(k)] * p.dfinal[i][k];
  }
  return s;
}
