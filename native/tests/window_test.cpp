// The window product of every instruction set against plain loops in double. tests/parity compares with the oracle; here
// it is memory, threads and processors that cannot run Python. Arrays are blocks of exactly their size, so that
// AddressSanitizer sees a read or write of one float too many.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "grunlock_window.h"
#include "plain_gru.hpp"

namespace {

std::atomic<int> failures{0};

void expect(bool held, const std::string& what) {
  if (held) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

struct WindowCase {
  std::vector<int64_t> lengths;  // longest first
  int64_t input_size, output_size;
  std::vector<int64_t> offsets;
  int64_t num_vectors = 0;  // 0: a vector for each row, without an index
};

const WindowCase kWindowCases[] = {
    {{1}, 1, 1, {0}},
    {{5, 3, 3, 1}, 7, 5, {0}},
    {{5, 3, 3, 1}, 7, 5, {0}, 4},
    {{9, 9, 4}, 33, 18, {-1, 0, 1}},
    {{9, 9, 4}, 33, 18, {-1, 0, 1}, 40},
    {{4, 1}, 16, 130, {2, -9}},
    {std::vector<int64_t>(24, 30), 72, 144, {0, -1}},
    {std::vector<int64_t>(24, 30), 72, 144, {0, 1}, 500},
};

// output and doutput are the right half of [N, 2 O].
struct WindowProblem {
  explicit WindowProblem(const WindowCase& given)
      : c(given), D(given.input_size), O(given.output_size), K(static_cast<int64_t>(given.offsets.size())) {
    for (int64_t t = 0; t < c.lengths[0]; ++t) {
      int64_t active = 0;
      while (active < static_cast<int64_t>(c.lengths.size()) && c.lengths[static_cast<size_t>(active)] > t) ++active;
      batch_sizes.push_back(active);
      starts.push_back(N);
      for (int64_t b = 0; b < active; ++b) steps.push_back(t);
      N += active;
    }
    U = c.num_vectors == 0 ? N : c.num_vectors;
    Random random(static_cast<uint64_t>(N * 10 + K));
    for (int64_t n = 0; n < N; ++n) index.push_back(c.num_vectors == 0 ? n : random.below(U));
    vectors = Floats(U * D, random, 1.0);
    weight = Floats(K * O * D, random, 1.0 / std::sqrt(static_cast<double>(K * D)));
    bias = Floats(O, random, 1.0);
    doutput = Floats(N * 2 * O, random, 1.0);
  }

  // The vector that row n reads for part k, or -1.
  int64_t source(int64_t n, int64_t k) const {
    const int64_t own = steps[static_cast<size_t>(n)], t = own + c.offsets[static_cast<size_t>(k)];
    const int64_t b = n - starts[static_cast<size_t>(own)];
    if (t < 0 || t >= c.lengths[static_cast<size_t>(b)]) return -1;
    return index[static_cast<size_t>(starts[static_cast<size_t>(t)] + b)];
  }
  std::string name() const {
    return "N" + std::to_string(N) + " U" + std::to_string(U) + " D" + std::to_string(D) + " O" + std::to_string(O) +
           " K" + std::to_string(K);
  }

  const WindowCase& c;
  int64_t D, O, K, N = 0, U = 0;
  std::vector<int64_t> batch_sizes, starts, steps, index;
  Floats vectors, weight, bias, doutput;
};

struct WindowResults {
  Floats output, dvectors, dweight, dbias;
};

WindowResults run(const WindowProblem& p) {
  WindowResults r{Floats(p.N * 2 * p.O), Floats(p.U * p.D), Floats(p.K * p.O * p.D), Floats(p.O)};
  grunlock_window_call call = {};
  call.num_steps = p.c.lengths[0];
  call.num_rows = p.N;
  call.num_vectors = p.U;
  call.input_size = p.D;
  call.output_size = p.O;
  call.window_steps = p.K;
  call.batch_sizes = p.batch_sizes.data();
  call.offsets = p.c.offsets.data();
  call.vectors = p.vectors.get();
  call.index = p.c.num_vectors == 0 ? nullptr : p.index.data();
  call.weight = p.weight.get();
  call.bias = p.bias.get();
  call.output = r.output.get() + p.O;
  call.doutput = p.doutput.get() + p.O;
  call.output_stride = call.doutput_stride = 2 * p.O;
  call.dvectors = r.dvectors.get();
  call.dweight = r.dweight.get();
  call.dbias = r.dbias.get();
  expect(grunlock_window_forward(&call) == GRUNLOCK_DONE, p.name() + ": forward");
  expect(grunlock_window_backward(&call) == GRUNLOCK_DONE, p.name() + ": backward");
  return r;
}

double largest_difference(const Floats& found, const std::vector<double>& expected) {
  double largest = 0.0;
  for (int64_t i = 0; i < found.count(); ++i) {
    const double d = std::fabs(found[i] - expected[static_cast<size_t>(i)]);
    largest = std::isnan(d) ? HUGE_VAL : std::max(largest, d);
  }
  return largest;
}

struct Largest {
  double values, grads;
};

// ---- plain loops

Largest compare(const WindowProblem& p, const WindowResults& r) {
  const auto zeros = [](const Floats& like) { return std::vector<double>(static_cast<size_t>(like.count())); };
  std::vector<double> output = zeros(r.output), dvectors = zeros(r.dvectors), dweight = zeros(r.dweight);
  std::vector<double> dbias = zeros(r.dbias);
  for (int64_t n = 0; n < p.N; ++n) {
    for (int64_t o = 0; o < p.O; ++o) {
      const int64_t place = (2 * n + 1) * p.O + o;
      const double dy = p.doutput[place];
      double y = p.bias[o];
      dbias[static_cast<size_t>(o)] += dy;
      for (int64_t k = 0; k < p.K; ++k) {
        const int64_t u = p.source(n, k);
        for (int64_t d = 0; u >= 0 && d < p.D; ++d) {
          const int64_t w = (k * p.O + o) * p.D + d;
          y += static_cast<double>(p.weight[w]) * p.vectors[u * p.D + d];
          dweight[static_cast<size_t>(w)] += dy * p.vectors[u * p.D + d];
          dvectors[static_cast<size_t>(u * p.D + d)] += dy * p.weight[w];
        }
      }
      output[static_cast<size_t>(place)] = y;
    }
  }
  const double grads = std::max(largest_difference(r.dvectors, dvectors), largest_difference(r.dweight, dweight));
  return {largest_difference(r.output, output), std::max(grads, largest_difference(r.dbias, dbias))};
}

bool same_bits(const Floats& a, const Floats& b) {
  return std::memcmp(a.get(), b.get(), static_cast<size_t>(a.count()) * sizeof(float)) == 0;
}

bool same_bits(const WindowResults& a, const WindowResults& b) {
  return same_bits(a.output, b.output) && same_bits(a.dvectors, b.dvectors) && same_bits(a.dweight, b.dweight) &&
         same_bits(a.dbias, b.dbias);
}

// Values are of size 3, gradients sums of up to 720 products of size 1.
void agrees_on_any_number_of_threads(const char* kernel) {
  for (const WindowCase& c : kWindowCases) {
    const WindowProblem p(c);
    const std::string where = std::string(kernel) + ", " + p.name();
    grunlock_set_num_threads(1);
    const WindowResults alone = run(p);
    const Largest off = compare(p, alone);
    expect(off.values < 3e-6, where + ": values off by " + std::to_string(off.values));
    expect(off.grads < 5e-5, where + ": gradients off by " + std::to_string(off.grads));
    for (int32_t threads : {2, 3}) {
      grunlock_set_num_threads(threads);
      expect(same_bits(run(p), alone), where + ": other bits on " + std::to_string(threads) + " threads");
    }
  }
}

void callers_do_not_disturb_each_other(const char* kernel) {
  const WindowProblem p(kWindowCases[6]);
  grunlock_set_num_threads(2);
  const WindowResults alone = run(p);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { expect(same_bits(run(p), alone), std::string(kernel) + ": among callers"); });
  }
  for (std::thread& caller : callers) caller.join();
}

void an_index_outside_is_refused() {
  grunlock_window_call call = {};
  const int64_t sizes[] = {1, 1}, offsets[] = {0}, index[] = {0, 1};
  call.num_steps = call.num_rows = 2;
  call.num_vectors = call.input_size = call.output_size = call.window_steps = 1;
  call.batch_sizes = sizes;
  call.offsets = offsets;
  call.index = index;
  expect(grunlock_window_forward(&call) == GRUNLOCK_INDEX_OUTSIDE, "an index outside is refused");
}

void the_comparison_bites() {
  const WindowProblem p(kWindowCases[4]);
  const WindowResults r = run(p);
  for (const Floats* spoilt : {&r.output, &r.dvectors, &r.dweight, &r.dbias}) {
    float& number = (*spoilt)[spoilt->count() - 1];
    const float right = number;
    number += 1e-3f;
    const Largest off = compare(p, r);
    expect(std::max(off.values, off.grads) > 5e-4, "a planted error is seen");
    number = right;
  }
}

}  // namespace

int main() {
  for (int32_t i = 0; i < grunlock_isa_count(); ++i) {
    if (!grunlock_isa_compiled(i) || !grunlock_isa_supported(i)) continue;
    grunlock_select(grunlock_isa_name(i));
    agrees_on_any_number_of_threads(grunlock_isa_name(i));
    callers_do_not_disturb_each_other(grunlock_isa_name(i));
  }
  an_index_outside_is_refused();
  the_comparison_bites();
  return failures == 0 ? 0 : 1;
}
