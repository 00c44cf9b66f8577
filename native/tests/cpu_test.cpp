// The CPU's own answers against the compiler's, and the rules of choosing an instruction set.
#include <cstdio>
#include <cstring>

#include "cpu.hpp"
#include "grunlock.h"

namespace {

int failures = 0;

void expect(bool held, const char* what) {
  if (held) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

bool supported(const char* name) { return grunlock::find_instruction_set(name)->supported; }

void agrees_with_the_compiler() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  expect(supported("baseline"), "x86-64 always has the baseline");
  expect(supported("avx2") == avx2, "avx2");
  expect(supported("avx512") == avx512, "avx512");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  expect(supported("avx512_bf16") == bf16, "avx512_bf16");
  expect(!supported("neon"), "x86-64 has no neon");
#elif defined(__aarch64__)
  expect(supported("neon"), "aarch64 always has neon");
  expect(!supported("baseline") && !supported("avx2"), "aarch64 has nothing of x86-64");
#endif
}

void the_best_is_used_until_one_is_selected() {
  const char* best = nullptr;
  for (int32_t i = 0; i < grunlock_isa_count(); ++i) {
    if (grunlock_isa_compiled(i) && grunlock_isa_supported(i)) best = grunlock_isa_name(i);
  }
  expect(best != nullptr, "some instruction set can be used");
  expect(best != nullptr && std::strcmp(grunlock_selected(), best) == 0, "the last usable one is the default");
}

void selecting() {
  for (int32_t i = 0; i < grunlock_isa_count(); ++i) {
    const char* name = grunlock_isa_name(i);
    const int32_t result = grunlock_select(name);
    const int32_t right = !grunlock_isa_compiled(i)    ? GRUNLOCK_NOT_COMPILED
                          : !grunlock_isa_supported(i) ? GRUNLOCK_NOT_SUPPORTED
                                                       : GRUNLOCK_SELECTED;
    expect(result == right, name);
    if (result == GRUNLOCK_SELECTED) expect(std::strcmp(grunlock_selected(), name) == 0, "what was selected is used");
  }
  expect(grunlock_select("avx9000") == GRUNLOCK_UNKNOWN_NAME, "unknown names are refused");
  expect(grunlock_isa_name(-1) == nullptr && grunlock_isa_name(grunlock_isa_count()) == nullptr, "indices are checked");
}

}  // namespace

int main() {
  agrees_with_the_compiler();
  the_best_is_used_until_one_is_selected();
  selecting();
  if (failures == 0) std::printf("instruction set %s, compiler %s\n", grunlock_selected(), grunlock_compiler());
  return failures == 0 ? 0 : 1;
}
