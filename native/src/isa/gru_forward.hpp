// The GRU forward in time: products and gate arithmetic of a tile of units while its sums are in registers or L1.
#pragma once

#include "general_forward.hpp"
#include "gru_row.hpp"

namespace grunlock::GRUNLOCK_ISA {

// The states of a block's sequences before and after a step, shared by the threads of a group.
struct States {
  float* previous;  // [rows, P]
  float* next;
  float* previous_operand;  // [rows, P] as operands, masked; the same memory as `previous` where nothing differs
  float* next_operand;

  void swap() {
    std::swap(previous, next);
    std::swap(previous_operand, next_operand);
  }
};

// Input gates of some packed rows for tiles [tile_begin, ...): 3 vectors per tile.
struct ProjectedGates {
  const float* data;
  int64_t stride;  // floats from row to row
  int64_t tile_begin;

  const float* at(int64_t row, int64_t tile) const {
    return data + row * stride + (tile - tile_begin) * kGateVectors * kLanes;
  }
};

template <class Operand>
class ForwardUnit {
 public:
  ForwardUnit(const Call& call, const Shape& shape, int64_t direction, Block block, const PackedDirection& packed,
              const float* table, float* states)
      : call_(call),
        s_(shape),
        d_(call.directions[direction]),
        reverse_(direction == 1),
        output_(call.output + direction * shape.H),
        block_(block),
        packed_(packed),
        weight_{packed.recurrent, d_.weight_hh, shape.H, shape.H},
        table_(table),
        zoneout_(call.directions[direction], shape.H),
        keeper_(call, d_, shape, 4 * shape.P),
        own_operands_(Operand::kPerWord > 1 || d_.state_mask != nullptr) {
    const int64_t size = block.rows(shape.B) * shape.P;
    states_ = {states, states + size, states, states + size};
    if (own_operands_) {
      states_.previous_operand = states + 2 * size;
      states_.next_operand = states + 3 * size;
    }
  }

  static int64_t states_size(const Shape& s, Block block) { return 4 * block.rows(s.B) * s.P; }

  void run(Team& team) {
    const Share tiles(s_.tiles, team.rank(), team.size());
    start_states(tiles);
    team.barrier();
    const int64_t most_rows = kChunkRows + block_.rows(s_.B);
    const int64_t gates_stride = (tiles.end - tiles.begin) * kGateVectors * kLanes;
    Pieces pieces(thread_scratch(Pieces::size(most_rows * gates_stride) + Pieces::size(most_rows * padded_input()) +
                                 Pieces::size(most_rows) + Pieces::size(block_.rows(s_.B) * gates_stride)));
    float* projected = pieces.take(most_rows * gates_stride);
    float* operands = pieces.take(most_rows * padded_input());
    float* row_scales = pieces.take(most_rows);
    float* products = pieces.take(block_.rows(s_.B) * gates_stride);
    int64_t chunk_end = 0;
    int64_t row = 0;  // of this step's first row among the projected ones
    for (int64_t step = 0; step < s_.T; ++step) {
      if (table_ == nullptr && step == chunk_end) {
        chunk_end = project(step, tiles, operands, row_scales, projected);
        row = 0;
      }
      const int64_t t = time(step);
      const ProjectedGates gates{projected + row * gates_stride, gates_stride, tiles.begin};
      is_plain_row() ? advance_row(t, tiles, gates, products) : advance(t, tiles, gates, products);
      row += block_.rows(s_.active(t));
      states_.swap();
      team.barrier();
    }
    keeper_.finish();
  }

 private:
  int64_t time(int64_t step) const { return reverse_ ? s_.T - 1 - step : step; }
  int64_t padded_input() const { return round_up(s_.D, GRUNLOCK_ROW_PAD); }

  GRUNLOCK_INLINE Floats masked(Floats h, int64_t sequence, int64_t column) const {
    return d_.state_mask == nullptr ? h
                                    : h * load_first(d_.state_mask + sequence * s_.H + column, s_.H - column);
  }

  // Both copies begin with h0: backward in time, sequences join later and find it in either.
  void start_states(const Share& tiles) {
    for (int64_t i = 0; i < block_.rows(s_.B); ++i) {
      const int64_t sequence = block_.sequence(i);
      for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
        const int64_t column = tile * kLanes;
        const Floats h = d_.h0 == nullptr ? splat(0.0f)
                                          : load_first(d_.h0 + sequence * s_.H + column, s_.H - column);
        store(states_.previous + i * s_.P + column, h);
        store(states_.next + i * s_.P + column, h);
        if (own_operands_) {
          const Floats operand = masked(h, sequence, column);
          store_operand<Operand>(states_.previous_operand + i * operand_stride(), column, operand);
          store_operand<Operand>(states_.next_operand + i * operand_stride(), column, operand);
        }
      }
    }
  }

  int64_t operand_stride() const { return s_.P / Operand::kPerWord; }

  // weight_ih @ x for the rows of the steps from `step` on, some kChunkRows of them. Returns the first step left out.
  int64_t project(int64_t step, const Share& tiles, float* operands, float* row_scales, float* projected) const {
    const int64_t stride = padded_input() / Operand::kPerWord;
    int64_t rows = 0;
    while (step < s_.T && rows < kChunkRows) {
      const int64_t t = time(step++);
      for (int64_t i = 0; i < block_.rows(s_.active(t)); ++i, ++rows) {
        const int64_t sequence = block_.sequence(i);
        const float* mask = call_.input_mask == nullptr ? nullptr : call_.input_mask + sequence * s_.D;
        const float* x = input_row(call_, s_.start(t) + sequence);
        row_scales[rows] = copy_operands<Operand>(x, mask, s_.D, operands + rows * stride);
      }
    }
    const int64_t gates_stride = (tiles.end - tiles.begin) * kGateVectors * kLanes;
    const GateWeight<Operand> weight{packed_.input, d_.weight_ih, s_.H, s_.D};
    weight.multiply(rows, operands, stride, tiles.begin, tiles.end, projected, gates_stride, kGateVectors * kLanes);
    for (int64_t i = 0; i < rows; ++i) {
      settle<Operand>(projected + i * gates_stride, packed_.input_scales, tiles.begin, tiles.end, row_scales[i]);
    }
    return step;
  }

  void advance(int64_t t, const Share& tiles, ProjectedGates projected, float* products) {
    const int64_t rows = block_.rows(s_.active(t));
    constexpr int64_t kPanel = kGateVectors * kLanes;
    const int64_t group = rows > 1 ? 1 : kRowPanels;
    for (int64_t first = tiles.begin; first < tiles.end; first += group) {
      const int64_t end = std::min(first + group, tiles.end);
      weight_.multiply(rows, states_.previous_operand, operand_stride(), first, end, products, kPanel, kPanel);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t n = s_.start(t) + block_.sequence(i);
        const uint32_t key = zoneout_.kind == GRUNLOCK_ZONEOUT_DRAWN ? zoneout_.row_key(n) : 0;
        for (int64_t tile = first; tile < end; ++tile) {
          finish(n, i, tile, key, input_gates(projected, n, i, tile), products + (i + tile - first) * kPanel);
        }
      }
    }
  }

  const float* input_gates(const ProjectedGates& projected, int64_t n, int64_t i, int64_t tile) const {
    return table_ == nullptr ? projected.at(i, tile)
                             : table_ + (call_.index[n] * s_.P + tile * kLanes) * kGateVectors;
  }

  bool is_plain_row() const {
    return block_.rows(s_.B) == 1 && d_.saved == nullptr && d_.state_mask == nullptr &&
           zoneout_.kind == GRUNLOCK_ZONEOUT_OFF;
  }

  void advance_row(int64_t t, const Share& tiles, const ProjectedGates& projected, float* products) {
    if (block_.rows(s_.active(t)) == 0) {
      return;
    }
    const int64_t n = s_.start(t) + block_.sequence(0);
    const RowPlaces places{states_.previous_operand, states_.previous, input_gates(projected, n, 0, tiles.begin),
                           products, states_.next, states_.next_operand, output_ + n * s_.output_stride};
    RowStep<Operand>(packed_, weight_, tiles).run(places, t % 2 == 1);
  }

  // Equations (2) to (6) for one vector of units of one sequence.
  GRUNLOCK_INLINE void finish(int64_t n, int64_t i, int64_t tile, uint32_t key, const float* x, const float* a) {
    const int64_t column = tile * kLanes;
    const float* biases = packed_.biases + tile * 4 * kLanes;
    const auto product = [&](int gate) {
      const int64_t place = (tile * kGateVectors + gate) * kLanes;
      return settled<Operand>(load(a + gate * kLanes), packed_.recurrent_scales, place, 1.0f);
    };
    const Floats h_prev = load(states_.previous + i * s_.P + column);
    Floats r = load(x) + product(0) + load(biases);
    Floats z = load(x + kLanes) + product(1) + load(biases + kLanes);
    sigmoid<1>(&r);
    sigmoid<1>(&z);
    const Floats a_n = product(2) + load(biases + 3 * kLanes);
    Floats candidate = load(x + 2 * kLanes) + load(biases + 2 * kLanes) + r * a_n;
    tanh<1>(&candidate);
    Floats h = candidate + z * (h_prev - candidate);
    if (zoneout_.kind != GRUNLOCK_ZONEOUT_OFF) {
      h = h + zoneout_.keep(n, key, column) * (h_prev - h);
    }
    if (d_.saved != nullptr) {
      float* saved = d_.saved + n * 4 * s_.P + column;
      keeper_.store(saved, candidate);
      keeper_.store(saved + s_.P, r);
      keeper_.store(saved + 2 * s_.P, z);
      keeper_.store(saved + 3 * s_.P, a_n);
    }
    store_first(output_ + n * s_.output_stride + column, h, s_.H - column);
    store(states_.next + i * s_.P + column, h);
    if (own_operands_) {
      store_operand<Operand>(states_.next_operand + i * operand_stride(), column,
                             masked(h, block_.sequence(i), column));
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  bool reverse_;
  float* output_;
  Block block_;
  PackedDirection packed_;
  GateWeight<Operand> weight_;
  const float* table_;
  Zoneout zoneout_;
  Keeper keeper_;
  bool own_operands_;
  States states_;
};

// weight_ih @ v for a share of the distinct input vectors.
template <class Operand>
void fill_table(const Call& call, const Shape& s, const PackedDirection& packed, const Share& share, float* table) {
  const int64_t stride = round_up(s.D, GRUNLOCK_ROW_PAD) / Operand::kPerWord;
  float* operands = thread_scratch(kChunkRows * stride);
  float row_scales[kChunkRows];
  for (int64_t first = share.begin; first < share.end; first += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, share.end - first);
    for (int64_t i = 0; i < rows; ++i) {
      row_scales[i] = copy_operands<Operand>(call.rows + (first + i) * s.D, nullptr, s.D, operands + i * stride);
    }
    multiply_gates<Operand>(rows, operands, stride, packed.input, words<Operand>(s.D), 0, s.tiles,
                            table + first * 3 * s.P, 3 * s.P, kGateVectors * kLanes);
    for (int64_t i = 0; i < rows; ++i) {
      settle<Operand>(table + (first + i) * 3 * s.P, packed.input_scales, 0, s.tiles, row_scales[i]);
    }
  }
}

template <class Operand>
void gru_forward_as(const Call& call) {
  const Shape s(call);
  const int64_t num_directions = call.num_directions;
  const bool with_table = uses_table(call);
  const int64_t weight_floats = 3 * s.H * (s.H + (with_table ? 0 : s.D)) / Operand::kPerWord;
  const bool unpacked = Operand::kPerWord == 1 && s.N <= kUnpackedRows && !with_table;
  const int64_t packed_size = unpacked ? 4 * s.P : PackedDirection::size<Operand>(s);
  const int64_t table_size = with_table ? s.U * 3 * s.P : 0;
  const int64_t states_size = ForwardUnit<Operand>::states_size(s, {0, 1});
  float* scratch = call_scratch(num_directions * (Pieces::size(packed_size) + Pieces::size(table_size) +
                                                  Pieces::size(states_size)));
  std::atomic<int64_t> arrived[GRUNLOCK_MAX_THREADS] = {};
  run_team(wanted_threads(call), [&](Team& team) {
    Pieces pieces(scratch);
    const float* packed[GRUNLOCK_MAX_DIRECTIONS];
    float* tables[GRUNLOCK_MAX_DIRECTIONS] = {};
    float* states[GRUNLOCK_MAX_DIRECTIONS];
    for (int64_t direction = 0; direction < num_directions; ++direction) {
      const Direction& d = call.directions[direction];
      float* room = pieces.take(packed_size);
      tables[direction] = pieces.take(table_size);
      states[direction] = pieces.take(states_size);
      packed[direction] = d.packed == nullptr ? room : static_cast<const float*>(d.packed);
      if (d.packed == nullptr) {
        const Share tiles(s.tiles, team.rank(), team.size());
        pack_direction<Operand>(d, s, tiles.begin, tiles.end, room, unpacked);
      }
    }
    team.barrier();
    for (int64_t direction = 0; with_table && direction < num_directions; ++direction) {
      fill_table<Operand>(call, s, PackedDirection::at<Operand>(packed[direction], s),
                          Share(s.U, team.rank(), team.size()), tables[direction]);
    }
    team.barrier();
    for_each_unit(s, num_directions, weight_floats, team, arrived, [&](int64_t direction, Block block, int64_t before,
                                                                       Team& members) {
      const bool as_given = unpacked && call.directions[direction].packed == nullptr;
      const PackedDirection weights = PackedDirection::at<Operand>(packed[direction], s, as_given);
      ForwardUnit<Operand>(call, s, direction, block, weights,
                           with_table ? tables[direction] : nullptr, states[direction] + 4 * before * s.P)
          .run(members);
    });
    team.barrier();
    for (int64_t direction = team.rank(); direction < num_directions; direction += team.size()) {
      copy_final(call, s, direction);
    }
  });
}

template <class Operand>
void gru_forward_of(const Call& call) {
  if (is_general(call)) {
    GeneralForward<GeneralForwardUnit<Operand>>(call).run();
  } else {
    gru_forward_as<Operand>(call);
  }
}

inline void gru_forward(const Call& call) {
  switch (call.precision) {
    case GRUNLOCK_BFLOAT16:
      return gru_forward_of<Bfloat16>(call);
    case GRUNLOCK_INT8:
      return gru_forward_as<Int8>(call);
    default:
      return gru_forward_of<Float32>(call);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
