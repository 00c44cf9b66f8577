// The C interface of grunlock_pool.h: cuts the work into pieces and hands them to the instruction set in use.
#include "grunlock_pool.h"

#include <algorithm>

#include "in_pieces.hpp"
#include "kernels.hpp"

namespace grunlock {
namespace {

using PoolKernel = void (*)(const grunlock_pool_call& call, int64_t sequence, int64_t begin, int64_t end);

// A tile is some columns of one sequence; longest sequences first.
void in_tiles(PoolKernel kernel, const grunlock_pool_call& call) {
  const int64_t tiles_per_sequence = (call.size + kPoolColumns - 1) / kPoolColumns;
  const int64_t tiles = call.batch_sizes[0] * tiles_per_sequence;
  const int64_t floats_per_tile = 1 + call.num_rows * call.size / (tiles + 1);
  in_pieces(tiles, 1 + kFloatsPerPiece / floats_per_tile, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile % tiles_per_sequence * kPoolColumns;
      kernel(call, tile / tiles_per_sequence, first, std::min(first + kPoolColumns, call.size));
    }
  });
}

}  // namespace
}  // namespace grunlock

void grunlock_pool_forward(const grunlock_pool_call* call) {
  grunlock::in_tiles(grunlock::selected_kernels().pool_forward, *call);
}

void grunlock_pool_backward(const grunlock_pool_call* call) {
  grunlock::in_tiles(grunlock::selected_kernels().pool_backward, *call);
}
