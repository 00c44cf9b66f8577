// Work that can be cut anywhere, in pieces for the threads.
#pragma once

#include <cstdint>

#include "thread_pool.hpp"

namespace grunlock {

constexpr int64_t kFloatsPerPiece = 1 << 15;  // some 10 us of work: waking a thread costs a few

// work(begin, end) for pieces that cover [0, total).
template <class Work>
void in_pieces(int64_t total, int64_t per_piece, const Work& work) {
  struct Call {
    const Work& work;
    int64_t total, per_piece;
  } call{work, total, per_piece};
  const auto piece = [](void* context, int64_t item) {
    const Call& it = *static_cast<const Call*>(context);
    const int64_t begin = item * it.per_piece;
    const int64_t end = begin + it.per_piece;
    it.work(begin, end < it.total ? end : it.total);
  };
  const int64_t pieces = (total + per_piece - 1) / per_piece;
  if (pieces == 1) {
    work(0, total);
  } else if (pieces > 1) {
    parallel_for(pieces, piece, &call);
  }
}

}  // namespace grunlock
