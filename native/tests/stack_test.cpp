// Stacks of trained layers against the same layers called one by one, and products in int8 against float32.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "grunlock_stack.h"
#include "plain_gru.hpp"

namespace {

std::atomic<int> failures{0};

void expect(bool held, const std::string& what) {
  if (held) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

// Two layers; the second reads the first one's output.
struct Layers {
  Layers(Case first, int64_t hidden_size)
      : first_case(first),
        second_case{first.lengths, first.hidden_size * first.num_directions, hidden_size, first.num_directions,
                    first.options & ~(kIndex | kH0)},
        first_problem(first_case),
        second_problem(second_case) {}

  int64_t output_floats() const { return second_problem.N * second_case.num_directions * second_case.hidden_size; }
  int64_t final_floats() const { return second_problem.B() * second_case.num_directions * second_case.hidden_size; }

  Case first_case, second_case;
  Problem first_problem, second_problem;
};

struct Prediction {
  Floats output, final;
};

Prediction one_by_one(const Layers& layers) {
  Floats between(layers.first_problem.N * layers.first_case.num_directions * layers.first_case.hidden_size);
  Prediction result{Floats(layers.output_floats()), Floats(layers.final_floats())};
  grunlock_gru_call first = call_of(layers.first_problem), second = call_of(layers.second_problem);
  first.output = between.get();
  second.rows = between.get();
  second.output = result.output.get();
  for (int64_t i = 0; i < second.num_directions; ++i) {
    first.directions[i].h0 = nullptr;
    second.directions[i].final =
        result.final.get() + i * layers.second_problem.B() * layers.second_case.hidden_size;
  }
  expect(grunlock_gru_forward(&first) == GRUNLOCK_DONE, "first layer");
  expect(grunlock_gru_forward(&second) == GRUNLOCK_DONE, "second layer");
  return result;
}

grunlock_stack* stack_of(const Layers& layers, int64_t precision) {
  grunlock_gru_call calls[] = {call_of(layers.first_problem), call_of(layers.second_problem)};
  for (grunlock_gru_call& call : calls) {
    call.precision = precision;
    for (grunlock_gru_direction& d : call.directions) d.h0 = nullptr;
  }
  return grunlock_stack_new(calls, 2);
}

Prediction predict(const grunlock_stack* stack, const Layers& layers) {
  const Problem& p = layers.first_problem;
  Prediction result{Floats(layers.output_floats()), Floats(layers.final_floats())};
  expect(grunlock_stack_run(stack, p.c.lengths[0], p.batch_sizes.data(), p.N, p.U, p.rows.get(),
                            p.c.has(kIndex) ? p.index.data() : nullptr, result.output.get(), result.final.get(),
                            nullptr) == GRUNLOCK_DONE,
         p.c.name() + ": a stack's run");
  return result;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.count() == b.count() && std::memcmp(a.get(), b.get(), static_cast<size_t>(a.count()) * sizeof(float)) == 0;
}

bool same_bits(const Prediction& a, const Prediction& b) {
  return same_bits(a.output, b.output) && same_bits(a.final, b.final);
}

// Infinity where something is not a number.
double largest_difference(const Floats& a, const Floats& b) {
  double largest = 0.0;
  for (int64_t i = 0; i < a.count(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (std::isnan(difference)) return HUGE_VAL;
    largest = std::max(largest, difference);
  }
  return largest;
}

const Case kCases[] = {
    {{1}, 3, 5, 1, 0},
    {{6, 6, 2, 1}, 17, 33, 2, kIndex},
    {{30}, 20, 40, 1, 0},
    {std::vector<int64_t>(70, 3), 9, 31, 1, kNoBias},
    {{5, 4}, 16, 21, 2, kNorm},
    {{5, 4}, 16, 21, 1, kResetBefore | kIndex},
    {{9, 7}, 30, 64, 1, kBfloat16},
};

void stacks_give_what_their_layers_give(const char* kernel) {
  for (const Case& c : kCases) {
    const Layers layers(c, 23);
    const std::string where = std::string(kernel) + ", " + c.name();
    grunlock_set_num_threads(1);
    const Prediction expected = one_by_one(layers);
    grunlock_stack* stack = stack_of(layers, c.has(kBfloat16) ? GRUNLOCK_BFLOAT16 : GRUNLOCK_FLOAT32);
    const Prediction alone = predict(stack, layers);
    // Not the same bits: a call of few rows adds its products up in another order.
    expect(largest_difference(alone.output, expected.output) < 4e-6, where + ": a stack's output");
    expect(largest_difference(alone.final, expected.final) < 4e-6, where + ": a stack's final states");
    grunlock_set_num_threads(3);
    expect(same_bits(predict(stack, layers), alone), where + ": other bits on three threads");
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) {
      callers.emplace_back([&] { expect(same_bits(predict(stack, layers), alone), where + ": among callers"); });
    }
    for (std::thread& caller : callers) caller.join();
    grunlock_stack_free(stack);
  }
}

// Weights are rounded to 127 steps and inputs to 255, each by up to half a step: some hundredths in a gate.
void int8_is_close_and_takes_any_number_of_threads(const char* kernel) {
  for (const Case& c : kCases) {
    if (c.has(kNorm) || c.has(kResetBefore) || c.has(kBfloat16)) continue;
    const Layers layers(c, 23);
    const std::string where = std::string(kernel) + ", " + c.name() + ", int8";
    grunlock_stack* stack = stack_of(layers, GRUNLOCK_INT8);
    grunlock_set_num_threads(1);
    const Prediction found = predict(stack, layers), expected = one_by_one(layers);
    const double off = largest_difference(found.output, expected.output);
    expect(off < 0.05, where + ": off by " + std::to_string(off));
    grunlock_set_num_threads(3);
    expect(same_bits(predict(stack, layers), found), where + ": other bits on three threads");
    grunlock_stack_free(stack);
  }
}

// Steps given one at a time, with carried states, are the steps given at once. One direction, all lengths equal.
void steps_one_at_a_time(const char* kernel) {
  const Layers layers({{7, 7, 7}, 6, 18, 1, 0}, 23);
  const Problem& p = layers.first_problem;
  const Prediction expected = one_by_one(layers);
  grunlock_stack* stack = stack_of(layers, GRUNLOCK_FLOAT32);
  Floats states(p.B() * (18 + 23)), output(p.B() * 23);
  for (int64_t t = 0; t < 7; ++t) {
    const int64_t batch = p.B();
    const float* rows = p.rows.get() + t * batch * 6;
    expect(grunlock_stack_run(stack, 1, &batch, batch, batch, rows, nullptr, output.get(), nullptr, states.get()) ==
               GRUNLOCK_DONE,
           "one step");
    expect(std::memcmp(output.get(), expected.output.get() + t * batch * 23,
                       static_cast<size_t>(batch * 23) * sizeof(float)) == 0,
           std::string(kernel) + ": step " + std::to_string(t) + " by itself");
  }
  const int64_t batch = 1, outside = p.U;
  expect(grunlock_stack_run(stack, 1, &batch, 1, p.U, p.rows.get(), &outside, output.get(), nullptr, nullptr) ==
             GRUNLOCK_INDEX_OUTSIDE,
         "an index outside");
  grunlock_stack_free(stack);
}

}  // namespace

int main() {
  for (int32_t i = 0; i < grunlock_isa_count(); ++i) {
    if (!grunlock_isa_compiled(i) || !grunlock_isa_supported(i)) continue;
    grunlock_select(grunlock_isa_name(i));
    stacks_give_what_their_layers_give(grunlock_isa_name(i));
    int8_is_close_and_takes_any_number_of_threads(grunlock_isa_name(i));
    steps_one_at_a_time(grunlock_isa_name(i));
  }
  return failures == 0 ? 0 : 1;
}
