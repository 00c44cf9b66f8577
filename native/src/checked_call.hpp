// Running one call of a layer for a caller who knows no exceptions.
#pragma once

#include <new>

#include "grunlock_gru.h"

namespace grunlock {

// Whether every row of the index is a vector: anything else would read outside the caller's memory.
template <class Layer>
bool in_bounds(const Layer& layer) {
  bool inside = true;
  for (int64_t n = 0; layer.index != nullptr && n < layer.num_rows; ++n) {
    inside &= layer.index[n] >= 0 && layer.index[n] < layer.num_vectors;
  }
  return inside;
}

// function(call) as a grunlock_result. layer: the call's part that says where rows lie.
template <class Function, class Call, class Layer>
int32_t run_checked(Function function, const Call& call, const Layer& layer) {
  if (!in_bounds(layer)) {
    return GRUNLOCK_INDEX_OUTSIDE;
  }
  try {
    function(call);
    return GRUNLOCK_DONE;
  } catch (const std::bad_alloc&) {
    return GRUNLOCK_OUT_OF_MEMORY;
  }
}

}  // namespace grunlock
