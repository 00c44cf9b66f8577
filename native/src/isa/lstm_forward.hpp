// The LSTM forward in time, as gru_forward.hpp: gate arithmetic of a tile of units while its sums are in L1.
#pragma once

#include "lstm_general.hpp"

namespace grunlock::GRUNLOCK_ISA {

// What one direction reads in every step.
struct PackedLstm {
  const float* biases;     // [tiles][4] vectors: of each gate, both sides summed
  const float* recurrent;  // gate panels of weight_hh
  const float* input;      // gate panels of weight_ih

  template <class Operand>
  static int64_t size(const Shape& s) {
    return kLstmGates * s.P * (1 + words<Operand>(s.H) + words<Operand>(s.D));
  }

  template <class Operand>
  static PackedLstm at(const float* data, const Shape& s) {
    const float* recurrent = data + kLstmGates * s.P;
    return {data, recurrent, recurrent + kLstmGates * s.P * words<Operand>(s.H)};
  }
};

// Tiles [begin, end) of one direction, into memory laid out as PackedLstm::at.
template <class Operand>
void pack_lstm(const Direction& d, const Shape& s, const Share& tiles, float* data) {
  float* recurrent = data + kLstmGates * s.P;
  float* input = recurrent + kLstmGates * s.P * words<Operand>(s.H);
  for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
    for (int gate = 0; gate < kLstmGates; ++gate) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t unit = tile * kLanes + lane;
        data[(tile * kLstmGates + gate) * kLanes + lane] =
            bias_of(d.bias_ih, s.H, gate, unit) + bias_of(d.bias_hh, s.H, gate, unit);
      }
    }
    pack_gate_panel<Operand, kLstmGates, kPanelVectors>(d.weight_hh, s.H, s.H, tile, recurrent);
    pack_gate_panel<Operand, kLstmGates, kPanelVectors>(d.weight_ih, s.H, s.D, tile, input);
  }
}

// Rows against the gates of tiles [begin, end): c holds kLstmGates vectors per tile, tile after tile.
template <class Operand>
void multiply_lstm_gates(int64_t rows, const float* a, int64_t stride, const float* panels, int64_t num_words,
                         int64_t begin, int64_t end, float* c, int64_t c_stride) {
  multiply_gates<Operand, kPanelVectors>(rows, a, stride, panels, num_words, begin * kLstmPanels, end * kLstmPanels, c,
                                         c_stride, kPanelVectors * kLanes);
}

template <class Operand>
class LstmForwardUnit {
 public:
  // states: states_size floats.
  LstmForwardUnit(const LstmCall& call, const Shape& shape, int64_t direction, Block block, const PackedLstm& packed,
                  const float* table, float* states)
      : call_(call.layer),
        s_(shape),
        d_(call_.directions[direction]),
        cell_(call.cells[direction]),
        reverse_(direction == 1),
        output_(call_.output + direction * shape.H),
        block_(block),
        packed_(packed),
        table_(table),
        zoneout_(call, direction, shape.H),
        keeper_(call_, d_, shape, kLstmSlots * shape.P) {
    const int64_t size = block.rows(shape.B) * shape.P;
    hidden_ = states;
    cells_ = hidden_ + size;
    operands_ = cells_ + size;
    next_operands_ = operands_ + size;
  }

  static int64_t states_size(const Shape& s, int64_t rows) { return 4 * rows * s.P; }

  void run(Team& team) {
    const Share tiles(s_.tiles, team.rank(), team.size());
    start_states(tiles);
    team.barrier();
    const int64_t most_rows = kChunkRows + block_.rows(s_.B);
    const int64_t gates_stride = (tiles.end - tiles.begin) * kVectors;
    Pieces pieces(thread_scratch(Pieces::size(most_rows * gates_stride) + Pieces::size(most_rows * padded_input()) +
                                 Pieces::size(std::max(block_.rows(s_.B) * kVectors, gates_stride))));
    float* projected = pieces.take(most_rows * gates_stride);
    float* operands = pieces.take(most_rows * padded_input());
    float* products = pieces.take(std::max(block_.rows(s_.B) * kVectors, gates_stride));
    int64_t chunk_end = 0;
    int64_t row = 0;  // of this step's first row among the projected ones
    for (int64_t step = 0; step < s_.T; ++step) {
      if (table_ == nullptr && step == chunk_end) {
        chunk_end = project(step, tiles, operands, projected);
        row = 0;
      }
      const int64_t t = time(step);
      advance(t, tiles, projected + row * gates_stride, gates_stride, products);
      row += block_.rows(s_.active(t));
      std::swap(operands_, next_operands_);
      team.barrier();
    }
    keeper_.finish();
    write_final(tiles);
  }

 private:
  static constexpr int64_t kVectors = kLstmGates * kLanes;  // floats of a tile's gates in a row

  int64_t time(int64_t step) const { return reverse_ ? s_.T - 1 - step : step; }
  int64_t padded_input() const { return round_up(s_.D, GRUNLOCK_ROW_PAD); }
  int64_t operand_stride() const { return s_.P / Operand::kPerWord; }

  GRUNLOCK_INLINE Floats masked(Floats h, int64_t sequence, int64_t column) const {
    return d_.state_mask == nullptr ? h
                                    : h * load_first(d_.state_mask + sequence * s_.H + column, s_.H - column);
  }

  // Both copies of the operands begin with h0: backward in time, sequences join later and find it in either.
  void start_states(const Share& tiles) {
    for (int64_t i = 0; i < block_.rows(s_.B); ++i) {
      const int64_t sequence = block_.sequence(i);
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        const Floats h = initial_state(d_.h0, s_, sequence, column);
        store(hidden_ + i * s_.P + column, h);
        store(cells_ + i * s_.P + column, initial_state(cell_.c0, s_, sequence, column));
        store_operand<Operand>(operands_ + i * operand_stride(), column, masked(h, sequence, column));
        store_operand<Operand>(next_operands_ + i * operand_stride(), column, masked(h, sequence, column));
      }
    }
  }

  // weight_ih @ x for the rows of the steps from `step` on, some kChunkRows of them. Returns the first step left out.
  int64_t project(int64_t step, const Share& tiles, float* operands, float* projected) const {
    const int64_t stride = padded_input() / Operand::kPerWord;
    int64_t rows = 0;
    while (step < s_.T && rows < kChunkRows) {
      const int64_t t = time(step++);
      for (int64_t i = 0; i < block_.rows(s_.active(t)); ++i, ++rows) {
        const int64_t sequence = block_.sequence(i);
        const float* mask = call_.input_mask == nullptr ? nullptr : call_.input_mask + sequence * s_.D;
        copy_operands<Operand>(input_row(call_, s_.start(t) + sequence), mask, s_.D, operands + rows * stride);
      }
    }
    multiply_lstm_gates<Operand>(rows, operands, stride, packed_.input, words<Operand>(s_.D), tiles.begin, tiles.end,
                                 projected, (tiles.end - tiles.begin) * kVectors);
    return step;
  }

  void advance(int64_t t, const Share& tiles, const float* projected, int64_t stride, float* products) {
    const int64_t rows = block_.rows(s_.active(t));
    const int64_t at_once = rows == 1 ? std::max<int64_t>(1, tiles.end - tiles.begin) : 1;  // see multiply_row
    for (int64_t tile = tiles.begin; tile < tiles.end; tile += at_once) {
      multiply_lstm_gates<Operand>(rows, operands_, operand_stride(), packed_.recurrent, words<Operand>(s_.H), tile,
                                   tile + at_once, products, kVectors);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t n = s_.start(t) + block_.sequence(i);
        const LstmZoneout::Keys keys = zoneout_.keys(n);
        const float* gates = table_ == nullptr ? projected + i * stride + (tile - tiles.begin) * kVectors
                                               : table_ + call_.index[n] * kLstmGates * s_.P + tile * kVectors;
        for (int64_t next = 0; next < at_once; ++next) {
          finish(n, i, tile + next, keys, gates + next * kVectors, products + (i + next) * kVectors);
        }
      }
    }
  }

  // One vector of units of one sequence, from its input gates x and products a.
  GRUNLOCK_INLINE void finish(int64_t n, int64_t i, int64_t tile, LstmZoneout::Keys keys, const float* x,
                              const float* a) {
    const int64_t column = tile * kLanes;
    const float* biases = packed_.biases + tile * kVectors;
    Floats gates[kLstmGates];
    for (int gate = 0; gate < kLstmGates; ++gate) {
      gates[gate] = load(x + gate * kLanes) + load(a + gate * kLanes) + load(biases + gate * kLanes);  // (1)
    }
    float* hidden = hidden_ + i * s_.P + column;
    float* cell = cells_ + i * s_.P + column;
    float* saved = d_.saved == nullptr ? nullptr : d_.saved + n * kLstmSlots * s_.P + column;
    const LstmStates states = lstm_step(gates, {load(hidden), load(cell)}, zoneout_, n, keys, column, keeper_, saved,
                                        s_.P);
    store(hidden, states.hidden);
    store(cell, states.cell);
    store_first(output_ + n * s_.output_stride + column, states.hidden, s_.H - column);
    store_operand<Operand>(next_operands_ + i * operand_stride(), column,
                           masked(states.hidden, block_.sequence(i), column));
  }

  void write_final(const Share& tiles) const {
    for (int64_t i = 0; i < block_.rows(s_.B); ++i) {
      const int64_t row = block_.sequence(i) * s_.H;
      for (int64_t column = tiles.begin * kLanes; column < tiles.end * kLanes; column += kLanes) {
        store_first(d_.final + row + column, load(hidden_ + i * s_.P + column), s_.H - column);
        store_first(cell_.final + row + column, load(cells_ + i * s_.P + column), s_.H - column);
      }
    }
  }

  const Call& call_;
  const Shape& s_;
  const Direction& d_;
  const CellState& cell_;
  bool reverse_;
  float* output_;
  Block block_;
  PackedLstm packed_;
  const float* table_;
  LstmZoneout zoneout_;
  Keeper keeper_;
  float* hidden_;         // [rows, P], each column only its own thread's business
  float* cells_;          // [rows, P], likewise
  float* operands_;       // [rows, P] as operands, masked, before and after a step, shared by the threads of a group
  float* next_operands_;
};

// weight_ih @ v for a share of the distinct input vectors.
template <class Operand>
void fill_lstm_table(const Call& call, const Shape& s, const PackedLstm& packed, const Share& share, float* table) {
  const int64_t stride = round_up(s.D, GRUNLOCK_ROW_PAD) / Operand::kPerWord;
  float* operands = thread_scratch(kChunkRows * stride);
  for (int64_t first = share.begin; first < share.end; first += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, share.end - first);
    for (int64_t i = 0; i < rows; ++i) {
      copy_operands<Operand>(call.rows + (first + i) * s.D, nullptr, s.D, operands + i * stride);
    }
    multiply_lstm_gates<Operand>(rows, operands, stride, packed.input, words<Operand>(s.D), 0, s.tiles,
                                 table + first * kLstmGates * s.P, kLstmGates * s.P);
  }
}

template <class Operand>
void lstm_forward_fused(const LstmCall& whole) {
  const Call& call = whole.layer;
  const Shape s(call, kLstmGates);
  const int64_t num_directions = call.num_directions;
  const bool with_table = uses_table(call);
  const int64_t weight_floats = kLstmGates * s.H * (s.H + (with_table ? 0 : s.D)) / Operand::kPerWord;
  const int64_t packed_size = PackedLstm::size<Operand>(s);
  const int64_t table_size = with_table ? s.U * kLstmGates * s.P : 0;
  const int64_t states_size = LstmForwardUnit<Operand>::states_size(s, s.B);
  float* scratch = call_scratch(num_directions * (Pieces::size(packed_size) + Pieces::size(table_size) +
                                                  Pieces::size(states_size)));
  std::atomic<int64_t> arrived[GRUNLOCK_MAX_THREADS] = {};
  run_team(wanted_threads(call, kLstmGates), [&](Team& team) {
    Pieces pieces(scratch);
    float* packed[GRUNLOCK_MAX_DIRECTIONS] = {};
    float* tables[GRUNLOCK_MAX_DIRECTIONS] = {};
    float* states[GRUNLOCK_MAX_DIRECTIONS] = {};
    for (int64_t direction = 0; direction < num_directions; ++direction) {
      packed[direction] = pieces.take(packed_size);
      tables[direction] = pieces.take(table_size);
      states[direction] = pieces.take(states_size);
      pack_lstm<Operand>(call.directions[direction], s, Share(s.tiles, team.rank(), team.size()), packed[direction]);
    }
    team.barrier();
    for (int64_t direction = 0; with_table && direction < num_directions; ++direction) {
      fill_lstm_table<Operand>(call, s, PackedLstm::at<Operand>(packed[direction], s),
                               Share(s.U, team.rank(), team.size()), tables[direction]);
    }
    team.barrier();
    for_each_unit(s, num_directions, weight_floats, team, arrived, [&](int64_t direction, Block block, int64_t before,
                                                                       Team& members) {
      LstmForwardUnit<Operand>(whole, s, direction, block, PackedLstm::at<Operand>(packed[direction], s),
                               with_table ? tables[direction] : nullptr,
                               states[direction] + LstmForwardUnit<Operand>::states_size(s, before))
          .run(members);
    });
  });
}

template <class Operand>
void lstm_forward_as(const LstmCall& call) {
  if (is_general(call.layer)) {
    GeneralForward<GeneralLstmForwardUnit<Operand>>(call).run();
  } else {
    lstm_forward_fused<Operand>(call);
  }
}

inline void lstm_forward(const LstmCall& call) {
  if (call.layer.precision == GRUNLOCK_BFLOAT16) {
    lstm_forward_as<Bfloat16>(call);
  } else {
    lstm_forward_as<Float32>(call);
  }
}

}  // namespace grunlock::GRUNLOCK_ISA
