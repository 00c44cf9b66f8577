// The gated recurrence of every instruction set against plain loops in double. tests/parity compares with the oracle;
// here it is memory, threads and processors that cannot run Python. Arrays are columns of blocks of exactly their size,
// so that AddressSanitizer sees a read or write of one float too many in the last row.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "grunlock_scan.h"
#include "plain_gru.hpp"

namespace {

std::atomic<int> failures{0};

void expect(bool held, const std::string& what) {
  if (held) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

struct ScanCase {
  std::vector<int64_t> lengths;  // longest first
  int64_t hidden_size;
  bool h0 = true, ends = true;  // ends: final, dfinal and dh0 are there
};

const ScanCase kScanCases[] = {
    {{1}, 1},
    {{5, 3, 3, 1}, 7, false, true},
    {{9, 9, 4}, 33, true, false},
    {{4, 1}, 64, false, false},
    {std::vector<int64_t>(70, 3), 130},
    {{3, 2}, 1100},
    {std::vector<int64_t>(24, 30), 72},
};

// One direction. Gates are columns of [N, gH]; state, output and doutput are the right half of [N, 2H].
struct ScanProblem {
  ScanProblem(const ScanCase& given, int64_t chosen_cell, bool backward_in_time)
      : c(given), cell(chosen_cell), reverse(backward_in_time), H(given.hidden_size) {
    for (int64_t t = 0; t < c.lengths[0]; ++t) {
      int64_t active = 0;
      while (active < B() && c.lengths[static_cast<size_t>(active)] > t) ++active;
      batch_sizes.push_back(active);
      starts.push_back(N);
      N += active;
    }
    Random random(static_cast<uint64_t>(N * 10 + cell));
    gates = Floats(N * num_gates() * H, random, 3.0);
    if (c.h0) h0 = Floats(B() * H, random, 1.0);
    if (c.ends) dfinal = Floats(B() * H, random, 1.0);
    doutput = Floats(N * 2 * H, random, 1.0);
  }

  int64_t B() const { return static_cast<int64_t>(c.lengths.size()); }
  int64_t num_gates() const { return cell == GRUNLOCK_SCAN_MINGRU ? 2 : 3; }
  double gate(int64_t n, int64_t g, int64_t j) const { return gates[(n * num_gates() + g) * H + j]; }
  std::string name() const {
    return "B" + std::to_string(B()) + " T" + std::to_string(c.lengths[0]) + " H" + std::to_string(H) + " cell " +
           std::to_string(cell) + (reverse ? " reverse" : "");
  }

  const ScanCase& c;
  int64_t cell;
  bool reverse;
  int64_t H, N = 0;
  std::vector<int64_t> batch_sizes, starts;
  Floats gates, h0, doutput, dfinal;
};

struct ScanResults {
  Floats state, output, final, dgates, dh0;  // output: QRNN only
};

ScanResults run(const ScanProblem& p) {
  const int64_t H = p.H, width = p.num_gates() * H;
  ScanResults r{Floats(p.N * 2 * H), Floats(p.cell == GRUNLOCK_SCAN_QRNN ? p.N * 2 * H : 0),
                Floats(p.c.ends ? p.B() * H : 0), Floats(p.N * width), Floats(p.c.ends ? p.B() * H : 0)};
  grunlock_scan_call call = {};
  call.cell = p.cell;
  call.num_steps = p.c.lengths[0];
  call.num_rows = p.N;
  call.hidden_size = H;
  call.reverse = p.reverse ? 1 : 0;
  call.batch_sizes = p.batch_sizes.data();
  call.keep = p.gates.get();
  call.candidate = p.gates.get() + H;
  call.dkeep = r.dgates.get();
  call.dcandidate = r.dgates.get() + H;
  if (p.num_gates() == 3) {
    call.third = p.gates.get() + 2 * H;
    call.dthird = r.dgates.get() + 2 * H;
  }
  call.keep_stride = call.candidate_stride = call.third_stride = width;
  call.dkeep_stride = call.dcandidate_stride = call.dthird_stride = width;
  call.h0 = p.h0.get();
  call.state = r.state.get() + H;
  call.output = p.cell == GRUNLOCK_SCAN_QRNN ? r.output.get() + H : nullptr;
  call.doutput = p.doutput.get() + H;
  call.state_stride = call.output_stride = call.doutput_stride = 2 * H;
  if (p.c.ends) {
    call.final = r.final.get();
    call.dfinal = p.dfinal.get();
    call.dh0 = r.dh0.get();
  }
  grunlock_scan_forward(&call);
  grunlock_scan_backward(&call);
  return r;
}

// ---- plain loops

struct PlainGates {
  PlainGates(const ScanProblem& p, int64_t n, int64_t j) {
    const double a = p.gate(n, 0, j), b = p.gate(n, 1, j);
    keep = sigmoid(a);
    candidate = p.cell == GRUNLOCK_SCAN_QRNN ? std::tanh(b) : b;
    if (p.num_gates() == 3) third = sigmoid(p.gate(n, 2, j));
    if (p.cell == GRUNLOCK_SCAN_MINLSTM) {
      forget = keep;
      keep = forget / (forget + third);
    }
  }
  double keep, candidate, forget = 0.0, third = 1.0;
};

struct Largest {
  double difference = 0.0;
  void add(double found, double expected) {
    const double d = std::fabs(found - expected);
    difference = std::isnan(d) ? HUGE_VAL : std::max(difference, d);
  }
};

// One unit of one sequence through all its steps and back, compared on the way.
void compare_unit(const ScanProblem& p, const ScanResults& r, int64_t b, int64_t j, Largest& values, Largest& grads) {
  const int64_t H = p.H, g_count = p.num_gates(), length = p.c.lengths[static_cast<size_t>(b)];
  std::vector<double> h{p.c.h0 ? p.h0[b * H + j] : 0.0};  // before each step
  const auto row = [&](int64_t step) {
    return p.starts[static_cast<size_t>(p.reverse ? length - 1 - step : step)] + b;
  };
  for (int64_t step = 0; step < length; ++step) {
    const PlainGates g(p, row(step), j);
    h.push_back(g.keep * h.back() + (1.0 - g.keep) * g.candidate);
    const int64_t place = (row(step) * 2 + 1) * H + j;
    values.add(r.state[place], h.back());
    if (p.cell == GRUNLOCK_SCAN_QRNN) values.add(r.output[place], h.back() * g.third);
  }
  double carry = p.c.ends ? p.dfinal[b * H + j] : 0.0;
  for (int64_t step = length - 1; step >= 0; --step) {
    const int64_t n = row(step);
    const PlainGates g(p, n, j);
    const double dy = p.doutput[(n * 2 + 1) * H + j];
    const double dh = (p.cell == GRUNLOCK_SCAN_QRNN ? dy * g.third : dy) + carry;
    double dkeep = dh * (h[static_cast<size_t>(step)] - g.candidate), dcandidate = dh * (1.0 - g.keep);
    dkeep *= g.keep * (1.0 - g.keep);
    if (p.cell == GRUNLOCK_SCAN_QRNN) {
      dcandidate *= 1.0 - g.candidate * g.candidate;
      grads.add(r.dgates[(n * 3 + 2) * H + j], dy * h[static_cast<size_t>(step + 1)] * g.third * (1.0 - g.third));
    }
    if (p.cell == GRUNLOCK_SCAN_MINLSTM) {
      grads.add(r.dgates[(n * 3 + 2) * H + j], -dkeep * (1.0 - g.third));
      dkeep *= 1.0 - g.forget;
    }
    grads.add(r.dgates[n * g_count * H + j], dkeep);
    grads.add(r.dgates[(n * g_count + 1) * H + j], dcandidate);
    carry = dh * g.keep;
  }
  if (p.c.ends) {
    values.add(r.final[b * H + j], h.back());
    grads.add(r.dh0[b * H + j], carry);
  }
}

// What is compared is of size 3 for values and some tens for gradients, of which each step adds one to the next.
void compare(const ScanProblem& p, const ScanResults& r, const std::string& where) {
  Largest values, grads;
  for (int64_t b = 0; b < p.B(); ++b) {
    for (int64_t j = 0; j < p.H; ++j) compare_unit(p, r, b, j, values, grads);
  }
  bool untouched = true;
  for (int64_t n = 0; n < p.N; ++n) {
    for (int64_t j = 0; j < p.H; ++j) untouched &= r.state[n * 2 * p.H + j] == 0.0f;
  }
  expect(values.difference < 3e-6, where + ": values off by " + std::to_string(values.difference));
  expect(grads.difference < 3e-5, where + ": gradients off by " + std::to_string(grads.difference));
  expect(untouched, where + ": wrote beside its columns");
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.count() == b.count() && (a.count() == 0 || std::memcmp(a.get(), b.get(), static_cast<size_t>(a.count()) * sizeof(float)) == 0);
}

bool same_bits(const ScanResults& a, const ScanResults& b) {
  return same_bits(a.state, b.state) && same_bits(a.output, b.output) && same_bits(a.final, b.final) && same_bits(a.dgates, b.dgates) &&
         same_bits(a.dh0, b.dh0);
}

void agrees_on_any_number_of_threads(const char* kernel) {
  for (const ScanCase& c : kScanCases) {
    for (int64_t cell = GRUNLOCK_SCAN_MINGRU; cell <= GRUNLOCK_SCAN_MINLSTM; ++cell) {
      for (bool reverse : {false, true}) {
        const ScanProblem p(c, cell, reverse);
        const std::string where = std::string(kernel) + ", " + p.name();
        grunlock_set_num_threads(1);
        const ScanResults alone = run(p);
        compare(p, alone, where);
        for (int32_t threads : {2, 3}) {
          grunlock_set_num_threads(threads);
          expect(same_bits(run(p), alone), where + ": other bits on " + std::to_string(threads) + " threads");
        }
      }
    }
  }
}

void callers_do_not_disturb_each_other(const char* kernel) {
  const ScanProblem p(kScanCases[6], GRUNLOCK_SCAN_QRNN, true);
  grunlock_set_num_threads(2);
  const ScanResults alone = run(p);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { expect(same_bits(run(p), alone), std::string(kernel) + ": among callers"); });
  }
  for (std::thread& caller : callers) caller.join();
}

void the_comparison_bites() {
  const ScanProblem p(kScanCases[1], GRUNLOCK_SCAN_MINGRU, false);
  const ScanResults r = run(p);
  for (const Floats* spoilt : {&r.state, &r.dgates}) {
    float& number = (*spoilt)[spoilt->count() - 1];
    const float right = number;
    number += 1e-3f;
    Largest values, grads;
    for (int64_t j = 0; j < p.H; ++j) {
      for (int64_t b = 0; b < p.B(); ++b) compare_unit(p, r, b, j, values, grads);
    }
    expect(std::max(values.difference, grads.difference) > 5e-4, "a planted error is seen");
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
