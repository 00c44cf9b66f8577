// Large buffers that outlive a call, kept for the next one: fresh pages cost more than the arithmetic done in them.
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <vector>

#include "grunlock_gru.h"

namespace {

constexpr size_t kUnit = size_t{2} << 20;  // a huge page

struct Buffer {
  void* data;
  size_t bytes;
};

class Buffers {
 public:
  void* take(size_t bytes) {
    bytes = std::max(kUnit, (bytes + kUnit - 1) / kUnit * kUnit);
    std::lock_guard<std::mutex> lock(mutex_);
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if (it->bytes >= bytes && it->bytes <= 2 * bytes && (best == idle_.end() || it->bytes < best->bytes)) {
        best = it;
      }
    }
    Buffer buffer;
    if (best != idle_.end()) {
      buffer = *best;
      idle_.erase(best);
      idle_bytes_ -= buffer.bytes;
    } else {
      buffer = {allocate(bytes), bytes};
      if (buffer.data == nullptr) {
        return nullptr;
      }
    }
    used_.push_back(buffer);
    used_bytes_ += buffer.bytes;
    most_used_bytes_ = std::max(most_used_bytes_, used_bytes_);
    return buffer.data;
  }

  void give(void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = std::find_if(used_.begin(), used_.end(), [data](const Buffer& b) { return b.data == data; });
    if (it == used_.end()) {
      return;
    }
    used_bytes_ -= it->bytes;
    idle_bytes_ += it->bytes;
    idle_.push_back(*it);
    used_.erase(it);
    while (used_bytes_ + idle_bytes_ > most_used_bytes_) {  // no more than was once needed at a time; oldest go first
      munmap(idle_.front().data, idle_.front().bytes);
      idle_bytes_ -= idle_.front().bytes;
      idle_.erase(idle_.begin());
    }
  }

 private:
  // Aligned to huge pages, so that the system may use them.
  static void* allocate(size_t bytes) {
    void* mapped = mmap(nullptr, bytes + kUnit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
      return nullptr;
    }
    char* start = static_cast<char*>(mapped);
    const size_t before = (kUnit - reinterpret_cast<size_t>(start) % kUnit) % kUnit;
    if (before > 0) {
      munmap(start, before);
    }
    if (kUnit - before > 0) {
      munmap(start + before + bytes, kUnit - before);
    }
#if defined(MADV_HUGEPAGE)
    madvise(start + before, bytes, MADV_HUGEPAGE);
#endif
    return start + before;
  }

  std::mutex mutex_;
  std::vector<Buffer> idle_;  // oldest first
  std::vector<Buffer> used_;
  size_t idle_bytes_ = 0;
  size_t used_bytes_ = 0;
  size_t most_used_bytes_ = 0;
};

Buffers& buffers() {
  static Buffers* const shared = new Buffers;  // never destroyed: buffers may come back while the process ends
  return *shared;
}

}  // namespace

void* grunlock_buffer_take(int64_t bytes) { return buffers().take(static_cast<size_t>(bytes)); }

void grunlock_buffer_give(void* data) { buffers().give(data); }
