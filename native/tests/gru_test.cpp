// The GRU layer of every instruction set against plain loops in double: values, and gradients by finite differences.
// tests/parity compares all gradients one by one; here it is memory, threads and processors that cannot run Python.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "plain_gru.hpp"

namespace {

std::atomic<int> failures{0};

void expect(bool held, const std::string& what) {
  if (held) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

struct Results {
  Floats output, final[2], drows, gradients[2][kParameters];
};

int64_t padded(int64_t size) { return (size + GRUNLOCK_ROW_PAD - 1) / GRUNLOCK_ROW_PAD * GRUNLOCK_ROW_PAD; }

// First of the floats of a block that lies at a multiple of 64 bytes, and `past` floats behind it.
float* at_line(const Floats& block, int64_t past) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(block.get());
  return reinterpret_cast<float*>((address + 63) / 64 * 64) + past;
}

// kept_past: where each direction's kept rows lie, in floats behind a multiple of 64 bytes; nullptr: as the heap has it.
Results run(const Problem& p, bool train, const int64_t* kept_past = nullptr) {
  const int64_t H = p.c.hidden_size, P = padded(H);
  Results results;
  Floats saved[2], saved_norm[2];
  results.output = Floats(p.N * p.c.num_directions * H);
  grunlock_gru_call call = call_of(p);
  call.output = results.output.get();
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    grunlock_gru_direction& d = call.directions[i];
    results.final[i] = Floats(p.B() * H);
    d.final = results.final[i].get();
    if (train) {
      const int64_t inputs = p.c.has(kInputMask) ? p.N : p.U;
      saved[i] = Floats(p.N * 4 * P);
      if (p.c.has(kNorm)) saved_norm[i] = Floats(p.N * (3 * P + 16) + inputs * (3 * P + 16));
      d.saved = saved[i].get();
      d.saved_norm = saved_norm[i].get();
      if (kept_past != nullptr) {
        saved[i] = Floats(p.N * 4 * P + 32);
        d.saved = at_line(saved[i], kept_past[i]);
      }
    }
  }
  expect(grunlock_gru_forward(&call) == GRUNLOCK_DONE, p.c.name() + ": forward");
  if (!train) return results;
  call.doutput = p.doutput.get();
  results.drows = Floats(p.rows.count());
  call.drows = results.drows.get();
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    grunlock_gru_direction& d = call.directions[i];
    float** gradients[] = {&d.dweight_ih,      &d.dweight_hh,      &d.dbias_ih, &d.dbias_hh,
                           &d.dnorm_weight_ih, &d.dnorm_weight_hh, &d.dh0};
    for (int k = 0; k < kParameters; ++k) {
      const int64_t count = p.directions[i].parameters[k].count();
      if (count > 0) results.gradients[i][k] = Floats(count);
      *gradients[k] = results.gradients[i][k].get();
    }
    d.dfinal = p.dfinal[i].get();
  }
  expect(grunlock_gru_backward(&call) == GRUNLOCK_DONE, p.c.name() + ": backward");
  return results;
}

template <class Function>
void for_each_array(const Problem& p, const Results& results, Function function) {
  function(p.rows, results.drows, "rows");
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    for (int k = 0; k < kParameters; ++k) {
      if (p.directions[i].parameters[k].count() > 0) {
        function(p.directions[i].parameters[k], results.gradients[i][k],
                 "parameter " + std::to_string(k) + " of direction " + std::to_string(i));
      }
    }
  }
}

// ---- comparisons

struct Expected {
  Solution values;
  std::vector<Doubles> ways;  // of each array
  Doubles slopes;             // of the loss along them

  explicit Expected(const Problem& p) : values(solve(p, {})) {
    Random random(11);
    for_each_array(p, {}, [&](const Floats& array, const Floats&, const std::string&) {
      Doubles way;
      for (int64_t i = 0; i < array.count(); ++i) way.push_back(random.uniform());
      constexpr double kStep = 1e-5;
      slopes.push_back((solve(p, {&array, &way, kStep}).loss - solve(p, {&array, &way, -kStep}).loss) / (2 * kStep));
      ways.push_back(std::move(way));
    });
  }
};

// Infinity where something is not a number.
double largest_difference(const Floats& found, const Doubles& expected) {
  double largest = 0.0;
  for (int64_t i = 0; i < found.count(); ++i) {
    const double difference = std::fabs(found[i] - expected[static_cast<size_t>(i)]);
    if (std::isnan(difference)) return HUGE_VAL;
    largest = std::max(largest, difference);
  }
  return largest;
}

void compare(const Problem& p, const Expected& expected, const Results& found, const std::string& where) {
  const double allowed = p.c.has(kBfloat16) ? 0.1 : p.c.has(kNorm) ? 1e-3 : 2e-5;
  double error = largest_difference(found.output, expected.values.output);
  for (int64_t i = 0; i < p.c.num_directions; ++i) {
    error = std::max(error, largest_difference(found.final[i], expected.values.final[i]));
  }
  expect(error <= allowed, where + ": values off by " + std::to_string(error));
  size_t place = 0;
  for_each_array(p, found, [&](const Floats&, const Floats& gradient, const std::string& name) {
    double slope = 0.0, squares = 0.0;
    for (int64_t i = 0; i < gradient.count(); ++i) {
      const double value = gradient[i];
      slope += value * expected.ways[place][static_cast<size_t>(i)];
      squares += value * value;
    }
    const double off = std::fabs(slope - expected.slopes[place]);
    expect(off <= allowed * (1.0 + std::sqrt(squares)), where + ": gradient of " + name + " off by " +
                                                            std::to_string(off) + " of " + std::to_string(slope));
    ++place;
  });
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.count() == b.count() &&
         (a.count() == 0 || std::memcmp(a.get(), b.get(), static_cast<size_t>(a.count()) * sizeof(float)) == 0);
}

bool same_values(const Results& a, const Results& b) {
  return same_bits(a.output, b.output) && same_bits(a.final[0], b.final[0]) && same_bits(a.final[1], b.final[1]);
}

bool same_bits(const Results& a, const Results& b) {
  bool same = same_values(a, b) && same_bits(a.drows, b.drows);
  for (int i = 0; i < 2; ++i) {
    for (int k = 0; k < kParameters; ++k) same &= same_bits(a.gradients[i][k], b.gradients[i][k]);
  }
  return same;
}

// Most are just large enough to be shared by threads.
const Case kCases[] = {
    {{1}, 1, 1, 1, kH0},
    {{5, 3, 1}, 3, 7, 2, kH0 | kStateMask | kIndex, GRUNLOCK_ZONEOUT_DRAWN},
    {{5, 3, 1}, 3, 7, 2, kNoBias | kInputMask, GRUNLOCK_ZONEOUT_RATE},
    {{8, 8, 6, 4, 3, 3, 2, 1, 1, 1}, 17, 33, 2, kIndex | kH0 | kStateMask, GRUNLOCK_ZONEOUT_MASK},
    {{8, 8, 6, 4, 3, 3, 2, 1, 1, 1}, 17, 33, 2, kIndex | kInputMask | kH0, GRUNLOCK_ZONEOUT_DRAWN},
    {{6, 6, 5, 4, 2, 1}, 20, 40, 2, kNorm | kIndex | kH0 | kStateMask, GRUNLOCK_ZONEOUT_DRAWN},
    {{7, 7, 6, 5, 3, 1}, 30, 50, 1, kNorm | kInputMask | kResetBefore},
    {{7, 6, 5, 3, 1}, 25, 45, 2, kResetBefore | kH0 | kStateMask | kIndex, GRUNLOCK_ZONEOUT_MASK},
    {{3, 2}, 40, 130, 1, kH0},  // threads share one sequence's units
    {{2, 2}, 33, 120, 2, kNorm | kResetBefore},
    {std::vector<int64_t>(70, 2), 8, 24, 2, kStateMask},  // several blocks of sequences
    {{6, 5, 4}, 30, 60, 2, kH0 | kStateMask | kBfloat16, GRUNLOCK_ZONEOUT_DRAWN},
    {{6, 5, 4}, 31, 70, 1, kIndex | kBfloat16},
    {{6, 5, 4}, 29, 61, 1, kResetBefore | kBfloat16 | kInputMask},
};

void every_kernel_agrees_on_any_number_of_threads(const std::vector<const char*>& kernels) {
  for (const Case& c : kCases) {
    const Problem p(c);
    const Expected expected(p);
    for (const char* kernel : kernels) {
      grunlock_select(kernel);
      const std::string where = std::string(kernel) + ", " + c.name();
      grunlock_set_num_threads(1);
      const Results alone = run(p, true);
      compare(p, expected, alone, where);
      expect(same_values(run(p, false), alone), where + ": other values without gradients");
      grunlock_set_num_threads(3);
      expect(same_bits(run(p, true), alone), where + ": other bits on three threads");
    }
  }
}

void callers_do_not_disturb_each_other() {
  constexpr int kCallers = 4;
  grunlock_set_num_threads(2);
  std::vector<std::unique_ptr<Problem>> problems;
  std::vector<Results> alone;
  for (const Case& c : kCases) {
    problems.push_back(std::make_unique<Problem>(c));
    alone.push_back(run(*problems.back(), true));
  }
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (size_t i = 0; i < 2 * problems.size(); ++i) {
        const size_t place = (i + 3 * caller) % problems.size();
        expect(same_bits(run(*problems[place], true), alone[place]), problems[place]->c.name() + ": among callers");
        void* buffer = grunlock_buffer_take(static_cast<int64_t>(1000 * (i + 1)));
        std::memset(buffer, 0, 1000 * (i + 1));
        grunlock_buffer_give(buffer);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Enough of them to be stored past the caches, which takes aligned addresses.
void kept_rows_may_lie_anywhere(const std::vector<const char*>& kernels) {
  const Case large{std::vector<int64_t>(64, 40), 4, 136, 2, 0};
  const Problem p(large);
  grunlock_set_num_threads(2);
  for (const char* kernel : kernels) {
    grunlock_select(kernel);
    const int64_t aligned[] = {0, 0}, first_odd[] = {1, 0}, second_odd[] = {0, 1};
    const Results expected = run(p, true, aligned);
    for (const int64_t* past : {first_odd, second_odd}) {
      expect(same_bits(run(p, true, past), expected), std::string(kernel) + ": kept rows at odd addresses");
    }
  }
}

void an_index_outside_is_refused() {
  Problem p(kCases[1]);
  for (int64_t wrong : {int64_t{-1}, p.U, INT64_MIN, INT64_MAX}) {
    grunlock_gru_call call = {};
    const int64_t index[] = {0, wrong};
    call.num_rows = 2;
    call.num_vectors = p.U;
    call.index = index;
    expect(grunlock_gru_forward(&call) == GRUNLOCK_INDEX_OUTSIDE, "an index outside, forward");
    expect(grunlock_gru_backward(&call) == GRUNLOCK_INDEX_OUTSIDE, "an index outside, backward");
  }
}

}  // namespace

int main() {
  std::vector<const char*> kernels;
  for (int32_t i = 0; i < grunlock_isa_count(); ++i) {
    if (grunlock_isa_compiled(i) && grunlock_isa_supported(i)) kernels.push_back(grunlock_isa_name(i));
  }
  every_kernel_agrees_on_any_number_of_threads(kernels);
  for (const char* kernel : kernels) {
    grunlock_select(kernel);
    callers_do_not_disturb_each_other();
  }
  kept_rows_may_lie_anywhere(kernels);
  an_index_outside_is_refused();
  return failures == 0 ? 0 : 1;
}
