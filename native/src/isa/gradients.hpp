// All gradients of a layer: backward in time, then every sum over rows, each a job of its own. What tells a GRU from an
// LSTM is its cell: see GruCell in gru_gradients.hpp.
#pragma once

#include "general_backward.hpp"
#include "weight_gradients.hpp"

namespace grunlock::GRUNLOCK_ISA {

// Sequence of each packed row and its state before the step, found once for all jobs.
struct RowOrigins {
  explicit RowOrigins(const Shape& s) : sequences(s.N), steps(s.N) {
    for (int64_t t = 0; t < s.T; ++t) {
      for (int64_t b = 0; b < s.active(t); ++b) {
        sequences[s.start(t) + b] = static_cast<int32_t>(b);
        steps[s.start(t) + b] = static_cast<int32_t>(t);
      }
    }
  }

  Array<int32_t> sequences;  // [N]
  Array<int32_t> steps;      // [N]
};

// Gradients of gates, a row for each packed row or vector.
struct RowsSource {
  const float* rows;
  int64_t stride;  // floats from row to row
};

template <class Cell>
class Gradients {
  using Operand = typename Cell::Operand;

 public:
  Gradients(const Call& call, const Cell& cell)
      : call_(call),
        cell_(cell),
        s_(call, kGates),
        origins_(s_),
        with_norm_(call.directions[0].norm_weight_hh != nullptr),
        with_table_(uses_table(call) || normalizes_vectors(call)),
        input_rows_(with_table_ ? s_.U : s_.N),
        scatter_rows_(call.index != nullptr || call.input_mask != nullptr),
        unpacked_input_(Operand::kPerWord == 1 && input_rows_ <= kUnpackedRows && s_.D % kLanes == 0) {}

  void run() {
    const int64_t num_directions = call_.num_directions;
    const int64_t state_panels = s_.P * gradient_words();
    const int64_t input_panels =
        call_.drows == nullptr || unpacked_input_ ? 0 : round_up(s_.D, kLanes) * gradient_words();
    const int64_t shared = cell_.shared_size(s_, s_.B);
    const int64_t table = with_table_ ? s_.U * kGates * s_.P : 0;
    const int64_t norm_sums = with_norm_ ? NormSums::size(s_) : 0;
    const int64_t spread = call_.drows != nullptr && !with_table_ && scatter_rows_ ? s_.N * s_.D : 0;
    float* scratch = call_scratch(num_directions * (Pieces::size(state_panels) + Pieces::size(input_panels) +
                                                    Pieces::size(shared) + Pieces::size(table) +
                                                    Pieces::size(norm_sums)) +
                                  Pieces::size(spread));
    Pieces pieces(scratch);
    for (int64_t direction = 0; direction < num_directions; ++direction) {
      state_panels_[direction] = pieces.take(state_panels);
      input_panels_[direction] = pieces.take(input_panels);
      shared_[direction] = pieces.take(shared);
      tables_[direction] = pieces.take(table);
      norm_sums_[direction].data = pieces.take(norm_sums);
    }
    spread_ = pieces.take(spread);
    for (int64_t direction = 0; direction < num_directions; ++direction) {
      std::fill(shared_[direction], shared_[direction] + shared, 0.0f);
      std::fill(norm_sums_[direction].data, norm_sums_[direction].data + norm_sums, 0.0f);
    }
    run_team(wanted_threads(call_, kGates), [this](Team& team) { body(team); });
  }

 private:
  static constexpr int64_t kGates = Cell::kGates;

  int64_t gradient_words() const { return kGates * s_.P / Operand::kPerWord; }

  void body(Team& team) {
    for (int64_t direction = 0; direction < call_.num_directions; ++direction) {
      pack(direction, team);
    }
    team.barrier();
    backward_in_time(team);
    team.barrier();
    for (int64_t direction = 0; with_table_ && direction < call_.num_directions; ++direction) {
      const RowsSource rows = cell_.input_rows(call_.directions[direction], s_);
      const Scatter scatter{rows.rows, rows.stride, kGates * s_.P, call_.index, tables_[direction]};
      scatter.run(Share(kGates * s_.tiles, team.rank(), team.size()), s_.N, s_.U);
    }
    team.barrier();
    for (int64_t direction = 0; with_norm_ && direction < call_.num_directions; ++direction) {
      add_norm_sums(direction, Share(kGates, team.rank(), team.size()));
    }
    if (with_norm_ && with_table_) {
      for (int64_t job = team.rank(); job < num_sums(); job += team.size()) {
        if (!sum_job(job).recurrent) {
          sum_input_norm(sum_job(job));
        }
      }
      team.barrier();
      for (int64_t direction = 0; direction < call_.num_directions; ++direction) {
        input_norm_back(direction, Share(input_rows_, team.rank(), team.size()));
      }
      team.barrier();
    }
    const int64_t sums = num_sums();
    const int64_t blocks = call_.drows == nullptr ? 0 : (input_rows_ + kBlockRows - 1) / kBlockRows;
    for (int64_t job; (job = next_job_.fetch_add(1, std::memory_order_relaxed)) < sums + blocks;) {
      job < sums ? sum(sum_job(job)) : input_gradients(job - sums);
    }
    team.barrier();
    if (call_.drows != nullptr && !with_table_ && scatter_rows_) {
      const Scatter scatter{spread_, s_.D, s_.D, call_.index, call_.drows};
      scatter.run(Share((s_.D + kLanes - 1) / kLanes, team.rank(), team.size()), s_.N, s_.U);
    }
  }

  void pack(int64_t direction, const Team& team) {
    const Direction& d = call_.directions[direction];
    const bool carried = s_.T > 1 || needs_carry(call_, direction);
    const int64_t state_panels = carried ? (s_.tiles + kPanelVectors - 1) / kPanelVectors : 0;
    for (int64_t panel = team.rank(); panel < state_panels; panel += team.size()) {
      cell_.pack_state_panel(d, s_, panel, state_panels_[direction]);
    }
    const int64_t input_vectors = round_up(s_.D, kLanes) / kLanes;
    const int64_t input_panels = (input_vectors + kPanelVectors - 1) / kPanelVectors;
    const bool wanted = call_.drows != nullptr && !unpacked_input_;
    for (int64_t panel = team.rank(); wanted && panel < input_panels; panel += team.size()) {
      pack_column_panel<Operand>(d.weight_ih, s_.H, s_.D, input_vectors, Cell::kInputOrder, kGates, panel,
                                 input_panels_[direction]);
    }
  }

  void backward_in_time(Team& team) {
    const int64_t weight_floats = kGates * s_.H * s_.H / Operand::kPerWord;
    for_each_unit(s_, call_.num_directions, weight_floats, team, arrived_, [this](int64_t direction, Block block,
                                                                                  int64_t before, Team& members) {
      float* shared = shared_[direction] + cell_.shared_size(s_, before);
      cell_.run_block(s_, direction, block, state_panels_[direction], norm_sums_[direction], shared, members);
    });
  }

  RowsSource input_source(int64_t direction, int64_t gate) const {
    const RowsSource source = with_table_ ? RowsSource{tables_[direction], kGates * s_.P}
                                          : cell_.input_rows(call_.directions[direction], s_);
    return {source.rows + cell_.input_slot(gate) * s_.P, source.stride};
  }

  RowsSource recurrent_source(int64_t direction, int64_t gate) const {
    const Direction& d = call_.directions[direction];
    if (with_norm_) {
      return {NormRows::state(d, s_, 0) + gate * s_.P, NormRows::stride(s_)};
    }
    return {d.saved + cell_.recurrent_slot(gate) * s_.P, Cell::kSlots * s_.P};
  }

  int64_t num_strips() const { return (s_.H + kStripUnits - 1) / kStripUnits; }
  int64_t num_sums() const { return call_.num_directions * 2 * kGates * num_strips(); }

  struct SumJob {
    int64_t first, gate, direction;  // first unit of the strip
    bool recurrent;
  };

  SumJob sum_job(int64_t job) const {
    const int64_t kind = job / num_strips();
    return {job % num_strips() * kStripUnits, kind % kGates, kind / (2 * kGates), kind / kGates % 2 == 0};
  }

  // With norm: gradients of gains and biases of a share of the gates, summed over sequences.
  void add_norm_sums(int64_t direction, const Share& gates) {
    const Direction& d = call_.directions[direction];
    float* targets[NormSums::kKinds] = {d.dnorm_weight_hh, d.dbias_hh, d.dnorm_weight_ih, d.dbias_ih};
    const int kinds = with_table_ ? NormSums::kInputGain : NormSums::kKinds;
    for (int kind = 0; kind < kinds; ++kind) {
      for (int64_t gate = gates.begin; targets[kind] != nullptr && gate < gates.end; ++gate) {
        for (int64_t column = 0; column < s_.H; column += kLanes) {
          Floats total = splat(0.0f);
          for (int64_t b = 0; b < s_.B; ++b) {
            const float* sums = norm_sums_[direction].at(s_, b, static_cast<NormSums::Kind>(kind));
            total = total + load(sums + gate * s_.P + column);
          }
          store_first(targets[kind] + gate * s_.H + column, total, s_.H - column);
        }
      }
    }
  }

  // The same for input gates that were normalised once per distinct vector: sums over the table's rows.
  void sum_input_norm(const SumJob& job) {
    const Direction& d = call_.directions[job.direction];
    const RowsSource source = input_source(job.direction, job.gate);
    const int64_t place = cell_.input_slot(job.gate) * s_.P + job.first;
    const int64_t end = std::min(job.first + kStripUnits, s_.H);
    constexpr int kVectors = kStripUnits / kLanes;
    const int64_t vectors = (end - job.first + kLanes - 1) / kLanes;
    Floats bias[kVectors] = {};
    Floats gain[kVectors] = {};
    for (int64_t n = 0; n < input_rows_; ++n) {
      const float* gradients = source.rows + n * source.stride + job.first;
      const float* normalized = NormRows::input(d, s_, n) + place;
      for (int64_t v = 0; v < vectors; ++v) {
        const Floats gradient = load(gradients + v * kLanes);
        bias[v] = bias[v] + gradient;
        gain[v] = gain[v] + gradient * load(normalized + v * kLanes);
      }
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t unit = job.first + v * kLanes;
      if (d.dbias_ih != nullptr) {
        store_first(d.dbias_ih + job.gate * s_.H + unit, bias[v], end - unit);
      }
      if (d.dnorm_weight_ih != nullptr) {
        store_first(d.dnorm_weight_ih + job.gate * s_.H + unit, gain[v], end - unit);
      }
    }
  }

  // Then the table's gradients through the norm, in place.
  void input_norm_back(int64_t direction, const Share& share) {
    const Direction& d = call_.directions[direction];
    for (int64_t n = share.begin; n < share.end; ++n) {
      const float* kept = NormRows::input(d, s_, n);
      float* gradients = tables_[direction] + n * kGates * s_.P;
      NormBack gates[kGates];
      each<kGates>([&](int slot) {
        gates[slot] = {gradients + slot * s_.P,   kept + slot * s_.P, d.norm_weight_ih + Cell::kInputOrder[slot] * s_.H,
                       kept[kGates * s_.P + slot], gradients + slot * s_.P, nullptr, nullptr};
      });
      normalize_back<kGates>(gates, s_);
    }
  }

  void sum(const SumJob& job) {
    const Direction& d = call_.directions[job.direction];
    const int64_t row = job.gate * s_.H + job.first;
    const int64_t units = std::min(kStripUnits, s_.H - job.first);
    const int64_t padded = round_up(units, kLanes);
    const RowsSource source = job.recurrent ? recurrent_source(job.direction, job.gate)
                                        : input_source(job.direction, job.gate);
    const float* left = source.rows + job.first;
    if (job.recurrent) {
      const float* products = cell_.saved_operands(d, s_, job.gate);
      const auto right = [&](int64_t n, const float** mask) -> const float* {
        if (products != nullptr) {
          return products + n * Cell::kSlots * s_.P;
        }
        const int64_t sequence = origins_.sequences[n];
        *mask = d.state_mask == nullptr ? nullptr : d.state_mask + sequence * s_.H;
        return previous_state(call_, s_, job.direction, origins_.steps[n], sequence);
      };
      write_sum(RowSum<decltype(right)>{left, source.stride, s_.N, units, padded, s_.H, right}, row, d.dweight_hh,
                with_norm_ ? nullptr : d.dbias_hh);
    } else {
      const auto right = [&](int64_t n, const float** mask) {
        if (with_table_) {
          return call_.rows + n * s_.D;
        }
        *mask = call_.input_mask == nullptr ? nullptr : call_.input_mask + origins_.sequences[n] * s_.D;
        return input_row(call_, n);
      };
      write_sum(RowSum<decltype(right)>{left, source.stride, input_rows_, units, padded, s_.D, right}, row, d.dweight_ih,
                with_norm_ ? nullptr : d.dbias_ih);
    }
  }

  template <class Right>
  void write_sum(const RowSum<Right>& job, int64_t row, float* dweight, float* dbias) {
    if (dweight != nullptr || dbias != nullptr) {
      sum_rows<Operand>(job, dweight == nullptr ? nullptr : dweight + row * job.columns,
                        dbias == nullptr ? nullptr : dbias + row);
    }
  }

  void input_gradients(int64_t block) {
    const int64_t first = block * kBlockRows;
    const int64_t rows = std::min(kBlockRows, input_rows_ - first);
    float* target = (!with_table_ && scatter_rows_ ? spread_ : call_.drows) + first * s_.D;
    for (int64_t direction = 0; direction < call_.num_directions; ++direction) {
      const RowsSource source = input_source(direction, Cell::kInputOrder[0]);
      if (unpacked_input_) {
        multiply_back_unpacked(source.rows, source.stride, rows, s_, call_.directions[direction].weight_ih,
                               Cell::kInputOrder, direction > 0, target);
        continue;
      }
      multiply_back<Operand>(source.rows + first * source.stride, source.stride, rows, s_, input_panels_[direction],
                             direction > 0, target);
    }
    for (int64_t i = 0; call_.input_mask != nullptr && i < rows; ++i) {
      const float* mask = call_.input_mask + origins_.sequences[first + i] * s_.D;
      for (int64_t column = 0; column < s_.D; column += kLanes) {
        float* place = target + i * s_.D + column;
        const int64_t left = s_.D - column;
        store_first(place, load_first(place, left) * load_first(mask + column, left), left);
      }
    }
  }

  const Call& call_;
  const Cell& cell_;
  Shape s_;
  RowOrigins origins_;
  bool with_norm_;
  bool with_table_;  // gradients of input gates are summed per distinct vector before all else
  int64_t input_rows_;
  bool scatter_rows_;
  bool unpacked_input_;
  float* state_panels_[GRUNLOCK_MAX_DIRECTIONS];
  float* input_panels_[GRUNLOCK_MAX_DIRECTIONS];
  float* shared_[GRUNLOCK_MAX_DIRECTIONS];
  float* tables_[GRUNLOCK_MAX_DIRECTIONS];
  NormSums norm_sums_[GRUNLOCK_MAX_DIRECTIONS] = {};
  float* spread_ = nullptr;
  std::atomic<int64_t> next_job_{0};
  std::atomic<int64_t> arrived_[GRUNLOCK_MAX_THREADS] = {};
};

}  // namespace grunlock::GRUNLOCK_ISA
