// Which instruction sets there are, which of them this build and this machine have, and the one in use.
#pragma once

#include "kernels.hpp"

namespace grunlock {

struct InstructionSet {
  const char* name;
  const Kernels* (*kernels)();  // null: not compiled into this library
  bool supported;               // by this CPU, and its registers are kept by the operating system
};

// From the least to the most capable. Returns their number and points *sets at them.
int instruction_sets(const InstructionSet** sets);

const InstructionSet* find_instruction_set(const char* name);  // null: unknown name

void select_kernels(const Kernels* kernels);

}  // namespace grunlock
