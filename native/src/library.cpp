// The C interface of grunlock.h.
#include "grunlock.h"

#include "cpu.hpp"
#include "thread_pool.hpp"

namespace {

const grunlock::InstructionSet* at(int32_t index) {
  const grunlock::InstructionSet* sets;
  const int count = grunlock::instruction_sets(&sets);
  return index >= 0 && index < count ? sets + index : nullptr;
}

}  // namespace

int32_t grunlock_abi_version() { return GRUNLOCK_ABI_VERSION; }

const char* grunlock_compiler() { return GRUNLOCK_COMPILER; }

int32_t grunlock_isa_count() {
  const grunlock::InstructionSet* sets;
  return grunlock::instruction_sets(&sets);
}

const char* grunlock_isa_name(int32_t index) {
  const grunlock::InstructionSet* set = at(index);
  return set == nullptr ? nullptr : set->name;
}

int32_t grunlock_isa_compiled(int32_t index) {
  const grunlock::InstructionSet* set = at(index);
  return set != nullptr && set->kernels != nullptr;
}

int32_t grunlock_isa_supported(int32_t index) {
  const grunlock::InstructionSet* set = at(index);
  return set != nullptr && set->supported;
}

int32_t grunlock_select(const char* name) {
  const grunlock::InstructionSet* set = grunlock::find_instruction_set(name);
  if (set == nullptr) return GRUNLOCK_UNKNOWN_NAME;
  if (set->kernels == nullptr) return GRUNLOCK_NOT_COMPILED;
  if (!set->supported) return GRUNLOCK_NOT_SUPPORTED;
  grunlock::select_kernels(set->kernels());
  return GRUNLOCK_SELECTED;
}

const char* grunlock_selected() { return grunlock::selected_kernels().name; }

void grunlock_use_openmp(void* gomp_parallel, void* omp_get_thread_num, void* omp_get_num_threads) {
  grunlock::use_host_threads(gomp_parallel, omp_get_thread_num, omp_get_num_threads);
}

void grunlock_set_num_threads(int32_t count) { grunlock::set_num_threads(count); }

int32_t grunlock_num_threads() { return grunlock::num_threads(); }
