// Where things lie in one call, and how its work is divided. The division never changes a result.
#pragma once

#include "../kernels.hpp"
#include "pack.hpp"

namespace grunlock::GRUNLOCK_ISA {

using Call = grunlock_gru_call;
using Direction = grunlock_gru_direction;

constexpr int64_t kBlockRows = 64;           // most rows of a block: their states stay in the level 2 cache
constexpr int64_t kChunkRows = 64;           // rows projected at a time: the input weights are read once for all
constexpr int64_t kUnpackedRows = 8;         // packed rows of a call up to which packing weights costs more than it saves
constexpr int64_t kCacheFloats = 160 * 1024;  // weights above this do not fit one core's level 2 cache beside the rest
constexpr int64_t kTeamWork = 60 * 1000;     // multiply-adds of a step worth a barrier
constexpr int64_t kCachedBytes = 10 << 20;   // kept for the backward: up to here it is still in a cache then
constexpr int64_t kParallelWork = 300 * 1000;  // multiply-adds of a call worth waking a thread

// Sequences first, first + stride, ...: neighbours in length go to different blocks, so that blocks take equally long.
struct Block {
  int64_t first;
  int64_t stride;

  int64_t rows(int64_t active) const { return active > first ? (active - first - 1) / stride + 1 : 0; }
  int64_t sequence(int64_t i) const { return first + i * stride; }
};

struct Shape {
  explicit Shape(const Call& call, int64_t num_gates = 3)
      : T(call.num_steps),
        N(call.num_rows),
        B(call.batch_sizes[0]),
        U(call.num_vectors),
        D(call.input_size),
        H(call.hidden_size),
        P(round_up(call.hidden_size, GRUNLOCK_ROW_PAD)),
        gates(num_gates),
        tiles(P / kLanes),
        output_stride(call.num_directions * call.hidden_size),
        starts(call.num_steps + 1) {
    starts[0] = 0;
    for (int64_t t = 0; t < T; ++t) {
      starts[t + 1] = starts[t] + call.batch_sizes[t];
    }
  }

  int64_t start(int64_t t) const { return starts[t]; }
  int64_t active(int64_t t) const { return t < T ? start(t + 1) - start(t) : 0; }

  int64_t T, N, B, U, D, H, P;
  int64_t gates;
  int64_t tiles;          // vectors of a padded row of units
  int64_t output_stride;  // floats from row to row of output
  Array<int64_t> starts;  // [T + 1] first packed row of each step
};

// Units (direction, block), and how many threads share one.
struct Division {
  int64_t num_blocks;  // per direction
  int group_size;      // threads that divide a unit's columns among them
  int num_groups;

  static Division make(const Shape& shape, int64_t num_directions, int64_t weight_floats, int threads) {
    int group_size = 1;
    const int64_t step_work = std::min(shape.B, kBlockRows) * shape.gates * shape.H * shape.H;
    const bool many_rows = shape.B >= 16 * threads;
    while (2 * group_size <= threads && step_work > kTeamWork * 2 * group_size &&
           ((!many_rows && num_directions * group_size * 2 <= threads) || weight_floats > kCacheFloats * group_size) &&
           shape.tiles >= 4 * group_size) {
      group_size *= 2;
    }
    const int num_groups = threads / group_size;
    const int64_t per_direction = std::max<int64_t>(1, num_groups / num_directions);
    int64_t num_blocks = (shape.B + kBlockRows - 1) / kBlockRows;
    if (group_size == 1) {
      num_blocks = std::min(round_up(num_blocks, per_direction), (shape.B + 7) / 8);
    }
    return {num_blocks, group_size, num_groups};
  }
};

// The part [begin, end) of `count` things that falls to one of `size` ranks.
struct Share {
  Share(int64_t count, int rank, int size) : begin(count * rank / size), end(count * (rank + 1) / size) {}
  int64_t begin, end;
};

// Runs body(direction, block, rows of the blocks in front, members) for every unit, the threads of a group together.
// arrived: a counter per group, zero at first.
template <class Body>
void for_each_unit(const Shape& s, int64_t num_directions, int64_t weight_floats, const Team& team,
                   std::atomic<int64_t>* arrived, const Body& body) {
  const Division division = Division::make(s, num_directions, weight_floats, team.size());
  const int group = team.rank() / division.group_size;
  if (group >= division.num_groups) {
    return;
  }
  Team members(team.rank() % division.group_size, division.group_size, &arrived[group]);
  for (int64_t unit = group; unit < num_directions * division.num_blocks; unit += division.num_groups) {
    const Block block{unit / num_directions, division.num_blocks};
    int64_t before = 0;
    for (int64_t i = 0; i < block.first; ++i) {
      before += Block{i, division.num_blocks}.rows(s.B);
    }
    body(unit % num_directions, block, before, members);
  }
}

inline float* thread_scratch(int64_t count) {
  static thread_local Scratch scratch;
  return scratch.floats(count);
}

inline float* call_scratch(int64_t count) {
  static thread_local Scratch scratch;
  return scratch.floats(count);
}

// Whether gates need whole rows of products: see general_forward.hpp.
inline bool is_general(const Call& call) {
  return call.reset_after == 0 || call.directions[0].norm_weight_hh != nullptr;
}

// Whether rows are projected once per distinct vector, into a table that steps read through the index.
inline bool uses_table(const Call& call) {
  const bool repeats = call.index != nullptr && 4 * call.num_vectors <= 3 * call.num_rows;
  return call.input_mask == nullptr && repeats;
}

// Threads that have something to do: none is woken to wait for the others.
inline int wanted_threads(const Call& call, int64_t num_gates = 3) {
  const int64_t per_row = num_gates * call.hidden_size * (call.hidden_size + call.input_size) * call.num_directions;
  if (call.num_rows * per_row < kParallelWork) {
    return 1;
  }
  const int64_t sequences = call.batch_sizes[0];
  if (sequences * 3 * call.hidden_size * call.hidden_size <= 2 * kTeamWork) {  // too little for a group: see Division
    return static_cast<int>(std::min<int64_t>(num_threads(), call.num_directions * ((sequences + 7) / 8)));
  }
  return num_threads();
}

// Stores what nobody reads before the backward. More of it than the last level cache holds goes past the caches: stored
// there, each line would first be read from memory, and drive others out.
class Keeper {
 public:
  Keeper(const Call& call, const Direction& d, const Shape& s, int64_t floats_per_row) {
    const int64_t bytes = call.num_directions * s.N * floats_per_row * static_cast<int64_t>(sizeof(float));
    const bool aligned = (reinterpret_cast<uintptr_t>(d.saved) | reinterpret_cast<uintptr_t>(d.saved_norm)) %
                             (kLanes * sizeof(float)) == 0;
    past_caches_ = d.saved != nullptr && aligned && bytes > kCachedBytes;
  }

  // p: in a direction's saved or saved_norm.
  GRUNLOCK_INLINE void store(float* p, Floats v) const {
    past_caches_ ? store_past_caches(p, v) : GRUNLOCK_ISA::store(p, v);
  }

  void finish() const {
    if (past_caches_) {
      finish_past_caches();
    }
  }

 private:
  bool past_caches_;
};

// Whether the backward goes on from a direction's first step: to h0, or in a general layer, which always does.
inline bool needs_carry(const Call& call, int64_t direction) {
  return call.directions[direction].dh0 != nullptr || is_general(call);
}

inline const float* input_row(const Call& call, int64_t n) {
  return call.rows + (call.index == nullptr ? n : call.index[n]) * call.input_size;
}

// The state after each sequence's last step, taken from the output.
inline void copy_final(const Call& call, const Shape& s, int64_t direction) {
  const Direction& d = call.directions[direction];
  for (int64_t t = 0; d.final != nullptr && t < (direction == 1 ? 1 : s.T); ++t) {
    for (int64_t b = direction == 1 ? 0 : s.active(t + 1); b < s.active(t); ++b) {
      const float* row = call.output + (s.start(t) + b) * s.output_stride + direction * s.H;
      std::memcpy(d.final + b * s.H, row, static_cast<size_t>(s.H) * sizeof(float));
    }
  }
}

// Zoneout's share of the old state for one vector of units: 1 keeps it.
struct Zoneout {
  template <class State>  // a direction, or an LSTM's cell
  Zoneout(const State& state, int64_t hidden_size)
      : kind(state.zoneout),
        rate(static_cast<float>(state.zoneout_rate)),
        threshold(static_cast<uint32_t>(state.zoneout_rate * 4294967296.0)),
        seed(state.zoneout_seed),
        mask(state.zoneout_mask),
        hidden_size(hidden_size) {}

  uint32_t row_key(int64_t n) const {
    const uint32_t low = mix(static_cast<uint32_t>(seed) ^ static_cast<uint32_t>(n));
    return mix(low + static_cast<uint32_t>(seed >> 32));
  }

  GRUNLOCK_INLINE Floats keep(int64_t n, uint32_t key, int64_t column) const {
    if (kind == GRUNLOCK_ZONEOUT_RATE) {
      return splat(rate);
    }
    if (kind == GRUNLOCK_ZONEOUT_MASK) {
      return load_first(mask + n * hidden_size + column, hidden_size - column);
    }
    const Words columns = lane_numbers() + static_cast<uint32_t>(column);
    const Words drawn = mix(splat_word(key) ^ (columns * 0x9E3779B9u));
    return drawn < splat_word(threshold) ? splat(1.0f) : splat(0.0f);
  }

  int64_t kind;
  float rate;
  uint32_t threshold;
  uint64_t seed;
  const float* mask;
  int64_t hidden_size;
};

}  // namespace grunlock::GRUNLOCK_ISA
