#include "cpu.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace grunlock {
namespace {

struct Supported {
  bool baseline = false;
  bool avx2 = false;
  bool avx512 = false;
  bool avx512_bf16 = false;
  bool neon = false;
};

#if defined(__x86_64__)

constexpr bool has(uint32_t value, uint32_t bits) { return (value & bits) == bits; }
constexpr uint32_t bit(int position) { return uint32_t{1} << position; }

struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;  // all zero where the CPU has no such leaf

  explicit Leaf(uint32_t leaf, uint32_t subleaf = 0) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

// Which registers the operating system saves on a task switch. Only where OSXSAVE is set.
uint32_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Bit positions: Intel SDM volume 2A, CPUID, and volume 1, 13.3 (XCR0).
Supported detect() {
  const Leaf basic(1);
  const Leaf extended(7, 0);
  const Leaf more(7, 1);
  Supported found;
  found.baseline = true;  // SSE2 is part of x86-64
  if (!has(basic.ecx, bit(27))) return found;  // OSXSAVE
  const uint32_t saved = saved_registers();
  const bool ymm = has(saved, bit(1) | bit(2));
  const bool zmm = ymm && has(saved, bit(5) | bit(6) | bit(7));
  const uint32_t fma_avx_f16c = bit(12) | bit(28) | bit(29);
  const uint32_t f_dq_bw_vl = bit(16) | bit(17) | bit(30) | bit(31);
  found.avx2 = ymm && has(basic.ecx, fma_avx_f16c) && has(extended.ebx, bit(5));
  found.avx512 = zmm && found.avx2 && has(extended.ebx, f_dq_bw_vl);
  const bool vnni = has(extended.ecx, bit(11));
  const bool bf16 = has(more.eax, bit(5));
  found.avx512_bf16 = found.avx512 && vnni && bf16;
  return found;
}

#else

Supported detect() {
  Supported found;
#if defined(__aarch64__)
  found.neon = true;  // part of AArch64
#else
  found.baseline = true;
#endif
  return found;
}

#endif

#ifdef GRUNLOCK_HAVE_BASELINE
constexpr auto baseline = kernels_baseline;
#else
constexpr const Kernels* (*baseline)() = nullptr;
#endif
#ifdef GRUNLOCK_HAVE_AVX2
constexpr auto avx2 = kernels_avx2;
#else
constexpr const Kernels* (*avx2)() = nullptr;
#endif
#ifdef GRUNLOCK_HAVE_AVX512
constexpr auto avx512 = kernels_avx512;
#else
constexpr const Kernels* (*avx512)() = nullptr;
#endif
#ifdef GRUNLOCK_HAVE_AVX512_BF16
constexpr auto avx512_bf16 = kernels_avx512_bf16;
#else
constexpr const Kernels* (*avx512_bf16)() = nullptr;
#endif
#ifdef GRUNLOCK_HAVE_NEON
constexpr auto neon = kernels_neon;
#else
constexpr const Kernels* (*neon)() = nullptr;
#endif

constexpr int kCount = 5;

struct Table {
  InstructionSet sets[kCount];

  Table() {
    const Supported cpu = detect();
    sets[0] = {"baseline", baseline, cpu.baseline};
    sets[1] = {"avx2", avx2, cpu.avx2};
    sets[2] = {"avx512", avx512, cpu.avx512};
    sets[3] = {"avx512_bf16", avx512_bf16, cpu.avx512_bf16};
    sets[4] = {"neon", neon, cpu.neon};
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

const Kernels* best_kernels() {
  const Kernels* best = nullptr;
  for (const InstructionSet& set : table().sets) {
    if (set.kernels != nullptr && set.supported) best = set.kernels();
  }
  return best;
}

std::atomic<const Kernels*> selected{nullptr};

}  // namespace

int instruction_sets(const InstructionSet** sets) {
  *sets = table().sets;
  return kCount;
}

const InstructionSet* find_instruction_set(const char* name) {
  for (const InstructionSet& set : table().sets) {
    if (std::strcmp(set.name, name) == 0) return &set;
  }
  return nullptr;
}

void select_kernels(const Kernels* kernels) { selected.store(kernels, std::memory_order_release); }

const Kernels& selected_kernels() {
  const Kernels* kernels = selected.load(std::memory_order_acquire);
  if (kernels == nullptr) {
    kernels = best_kernels();  // every build has the set that its processor always has
    select_kernels(kernels);
  }
  return *kernels;
}

}  // namespace grunlock
