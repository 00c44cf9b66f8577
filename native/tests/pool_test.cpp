// Pooling of every instruction set against plain loops in double. tests/parity compares with the oracle; here it is
// memory, threads and processors that cannot run Python. Arrays are columns of blocks of exactly their size, so that
// AddressSanitizer sees a read or write of one float too many in the last row.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "grunlock_pool.h"
#include "plain_gru.hpp"

namespace {

std::atomic<int> failures{0};

void expect(bool held, const std::string& what) {
  if (held) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

struct PoolCase {
  std::vector<int64_t> lengths;  // longest first
  int64_t size;
  bool max = true, mean = true;
};

const PoolCase kPoolCases[] = {
    {{1}, 1},
    {{5, 3, 3, 1}, 7},
    {{5, 3, 3, 1}, 7, true, false},
    {{9, 9, 4}, 300, false, true},
    {{3, 2}, 520},
    {std::vector<int64_t>(24, 30), 144},
};

// rows, dmax and dmean are the right half of arrays twice as wide.
struct PoolProblem {
  explicit PoolProblem(const PoolCase& given) : c(given), E(given.size), B(static_cast<int64_t>(given.lengths.size())) {
    for (int64_t t = 0; t < c.lengths[0]; ++t) {
      int64_t active = 0;
      while (active < B && c.lengths[static_cast<size_t>(active)] > t) ++active;
      batch_sizes.push_back(active);
      starts.push_back(N);
      N += active;
    }
    Random random(static_cast<uint64_t>(N));
    rows = Floats(N * 2 * E, random, 3.0);
    for (int64_t i = 0; i < rows.count(); ++i) rows[i] = std::nearbyintf(rows[i]);  // many tie
    dmax = Floats(B * 2 * E, random, 1.0);
    dmean = Floats(B * 2 * E, random, 1.0);
  }
  std::string name() const { return "B" + std::to_string(B) + " N" + std::to_string(N) + " E" + std::to_string(E); }

  const PoolCase& c;
  int64_t E, B, N = 0;
  std::vector<int64_t> batch_sizes, starts;
  Floats rows, dmax, dmean;
};

struct PoolResults {
  Floats max, ties, mean, drows;
};

PoolResults run(const PoolProblem& p) {
  const int64_t maxima = p.c.max ? p.B * p.E : 0;
  PoolResults r{Floats(maxima), Floats(maxima), Floats(p.c.mean ? p.B * p.E : 0), Floats(p.N * p.E)};
  grunlock_pool_call call = {};
  call.num_steps = p.c.lengths[0];
  call.num_rows = p.N;
  call.size = p.E;
  call.batch_sizes = p.batch_sizes.data();
  call.rows = p.rows.get() + p.E;
  call.rows_stride = call.dmax_stride = call.dmean_stride = 2 * p.E;
  call.max = p.c.max ? r.max.get() : nullptr;
  call.ties = p.c.max ? r.ties.get() : nullptr;
  call.mean = p.c.mean ? r.mean.get() : nullptr;
  call.dmax = p.c.max ? p.dmax.get() + p.E : nullptr;
  call.dmean = p.c.mean ? p.dmean.get() + p.E : nullptr;
  call.drows = r.drows.get();
  grunlock_pool_forward(&call);
  grunlock_pool_backward(&call);
  return r;
}

// Largest difference from plain loops over all values and gradients, which are of size 3.
double compare(const PoolProblem& p, const PoolResults& r) {
  double largest = 0.0;
  const auto add = [&](double found, double expected) {
    const double d = std::fabs(found - expected);
    largest = std::isnan(d) ? HUGE_VAL : std::max(largest, d);
  };
  for (int64_t place = 0; place < p.B * p.E; ++place) {
    const int64_t b = place / p.E, j = place % p.E, length = p.c.lengths[static_cast<size_t>(b)];
    const auto row = [&](int64_t t) { return p.starts[static_cast<size_t>(t)] + b; };
    double max = -HUGE_VAL, sum = 0.0, ties = 0.0;
    for (int64_t t = 0; t < length; ++t) {
      const double x = p.rows[(2 * row(t) + 1) * p.E + j];
      ties = x > max ? 1.0 : ties + (x == max ? 1.0 : 0.0);
      max = std::max(max, x);
      sum += x;
    }
    const double steps = static_cast<double>(length);
    const int64_t wide = (2 * b + 1) * p.E + j;
    if (p.c.max) {
      add(r.max[place], max);
      add(r.ties[place], ties);
    }
    if (p.c.mean) add(r.mean[place], sum / steps);
    for (int64_t t = 0; t < length; ++t) {
      const bool highest = p.rows[(2 * row(t) + 1) * p.E + j] == max;
      const double from_max = p.c.max && highest ? p.dmax[wide] / ties : 0.0;
      add(r.drows[row(t) * p.E + j], from_max + (p.c.mean ? p.dmean[wide] / steps : 0.0));
    }
  }
  return largest;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.count() == b.count() &&
         (a.count() == 0 || std::memcmp(a.get(), b.get(), static_cast<size_t>(a.count()) * sizeof(float)) == 0);
}

bool same_bits(const PoolResults& a, const PoolResults& b) {
  return same_bits(a.max, b.max) && same_bits(a.ties, b.ties) && same_bits(a.mean, b.mean) &&
         same_bits(a.drows, b.drows);
}

void agrees_on_any_number_of_threads(const char* kernel) {
  for (const PoolCase& c : kPoolCases) {
    const PoolProblem p(c);
    const std::string where = std::string(kernel) + ", " + p.name();
    grunlock_set_num_threads(1);
    const PoolResults alone = run(p);
    const double off = compare(p, alone);
    expect(off < 3e-6, where + ": off by " + std::to_string(off));
    for (int32_t threads : {2, 3}) {
      grunlock_set_num_threads(threads);
      expect(same_bits(run(p), alone), where + ": other bits on " + std::to_string(threads) + " threads");
    }
  }
}

void callers_do_not_disturb_each_other(const char* kernel) {
  const PoolProblem p(kPoolCases[5]);
  grunlock_set_num_threads(2);
  const PoolResults alone = run(p);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { expect(same_bits(run(p), alone), std::string(kernel) + ": among callers"); });
  }
  for (std::thread& caller : callers) caller.join();
}

void the_comparison_bites() {
  const PoolProblem p(kPoolCases[1]);
  const PoolResults r = run(p);
  for (const Floats* spoilt : {&r.max, &r.ties, &r.mean, &r.drows}) {
    float& number = (*spoilt)[spoilt->count() - 1];
    const float right = number;
    number += 1e-3f;
    expect(compare(p, r) > 5e-4, "a planted error is seen");
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
  the_comparison_bites();
  return failures == 0 ? 0 : 1;
}
