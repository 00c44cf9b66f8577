#include "thread_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace grunlock {
namespace {

constexpr int kSpinsBeforeYield = 4000;  // some 50 microseconds: longer than a step, shorter than a time slice
constexpr int kSpinsBeforeSleep = 4000;
constexpr int kMaxThreads = 256;  // GRUNLOCK_MAX_THREADS

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins while `waiting()` holds, giving the processor away once that takes long.
template <class Condition>
void spin_while(Condition waiting) {
  for (int spins = 0; waiting(); ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_cpu();
    } else {
      std::this_thread::yield();
    }
  }
}

struct Job {
  void (*body)(void*, Team&);
  void* context;
  int size = 1;
  std::atomic<int64_t> arrived{0};
  std::atomic<int> running{0};
};

class Worker {
 public:
  Worker() : thread_([this] { loop(); }) { thread_.detach(); }

  // The caller must have claimed this worker.
  void start(Job* job, int rank) {
    rank_ = rank;
    job_.store(job, std::memory_order_release);
    std::lock_guard<std::mutex> lock(mutex_);
    if (asleep_) {
      wake_.notify_one();
    }
  }

  bool claim() {
    bool expected = false;
    return claimed_.compare_exchange_strong(expected, true, std::memory_order_acquire);
  }

 private:
  void loop() {
    for (;;) {
      Job* job = wait();
      Team team(rank_, job->size, &job->arrived);
      job->body(job->context, team);
      job_.store(nullptr, std::memory_order_relaxed);
      claimed_.store(false, std::memory_order_release);
      job->running.fetch_sub(1, std::memory_order_release);  // the last touch: the caller may free the job now
    }
  }

  Job* wait() {
    for (int spins = 0; spins < kSpinsBeforeSleep; ++spins) {
      if (Job* job = job_.load(std::memory_order_acquire)) {
        return job;
      }
      pause_cpu();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    asleep_ = true;
    wake_.wait(lock, [this] { return job_.load(std::memory_order_acquire) != nullptr; });
    asleep_ = false;
    return job_.load(std::memory_order_acquire);
  }

  std::atomic<Job*> job_{nullptr};
  std::atomic<bool> claimed_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool asleep_ = false;
  int rank_ = 0;
  std::thread thread_;  // last: it starts when all else is there
};

class Pool {
 public:
  std::vector<Worker*> claim(int wanted) {
    std::lock_guard<std::mutex> lock(mutex_);
    while (static_cast<int>(workers_.size()) < wanted) {
      workers_.push_back(new Worker);  // never freed: a detached thread uses it as long as the process lives
    }
    std::vector<Worker*> claimed;
    for (Worker* worker : workers_) {
      if (static_cast<int>(claimed.size()) == wanted) {
        break;
      }
      if (worker->claim()) {
        claimed.push_back(worker);
      }
    }
    return claimed;
  }

 private:
  std::mutex mutex_;
  std::vector<Worker*> workers_;
};

// The threads of an OpenMP runtime that is in the process anyway. They wait for work by spinning: a second pool beside
// them would get its processors only once they give up.
struct HostThreads {
  void (*parallel)(void (*body)(void*), void* data, unsigned num_threads, unsigned flags);  // GOMP_parallel
  int (*thread_num)();
  int (*num_threads)();
};

std::atomic<int> thread_count{0};
std::atomic<Pool*> shared_pool{nullptr};
std::atomic<HostThreads*> host_threads{nullptr};
std::atomic<bool> forked{false};

// A forked child has none of the parent's threads, and a mutex may be held by one of them: begin anew, without the
// host's threads, whose runtime does not survive a fork.
void forget_threads() {
  shared_pool.store(new Pool);
  host_threads.store(nullptr);
  forked.store(true);
}

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, forget_threads); });
}

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    watch_forks();
    shared_pool.store(new Pool);
  });
  return *shared_pool.load();
}

struct HostJob {
  const HostThreads* host;
  void (*body)(void*, Team&);
  void* context;
  std::atomic<int64_t> arrived{0};
};

void run_on_host(const HostThreads& host, int size, void (*body)(void*, Team&), void* context) {
  HostJob job{&host, body, context};
  host.parallel(
      [](void* data) {
        HostJob& job = *static_cast<HostJob*>(data);
        Team team(job.host->thread_num(), job.host->num_threads(), &job.arrived);
        job.body(job.context, team);
      },
      &job, static_cast<unsigned>(size), 0);
}

}  // namespace

void Team::barrier() {
  passed_ += size_;
  if (size_ == 1) {
    return;
  }
  arrived_->fetch_add(1, std::memory_order_acq_rel);
  spin_while([this] { return arrived_->load(std::memory_order_acquire) < passed_; });
}

void run_team(int max_size, void (*body)(void*, Team&), void* context) {
  const int wanted = std::min(max_size, num_threads()) - 1;
  if (const HostThreads* host = host_threads.load(std::memory_order_acquire); host != nullptr && wanted > 0) {
    return run_on_host(*host, 1 + wanted, body, context);
  }
  Job job{body, context};
  std::vector<Worker*> helpers;
  if (wanted > 0) {
    helpers = pool().claim(wanted);
  }
  job.size = 1 + static_cast<int>(helpers.size());
  job.running.store(job.size - 1, std::memory_order_relaxed);
  for (int i = 0; i < job.size - 1; ++i) {
    helpers[static_cast<size_t>(i)]->start(&job, i + 1);
  }
  Team team(0, job.size, &job.arrived);
  body(context, team);
  spin_while([&job] { return job.running.load(std::memory_order_acquire) > 0; });
}

void parallel_for(int64_t items, void (*body)(void*, int64_t), void* context) {
  std::atomic<int64_t> next{0};
  run_team(static_cast<int>(std::min<int64_t>(items, num_threads())), [&](Team&) {
    for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) {
      body(context, item);
    }
  });
}

void set_num_threads(int count) { thread_count.store(std::min(std::max(1, count), kMaxThreads)); }

void use_host_threads(void* parallel, void* thread_num, void* num_threads) {
  watch_forks();
  auto* host = new HostThreads{reinterpret_cast<decltype(HostThreads::parallel)>(parallel),
                               reinterpret_cast<int (*)()>(thread_num), reinterpret_cast<int (*)()>(num_threads)};
  if (!forked.load()) {
    host_threads.store(host, std::memory_order_release);  // the one before is kept: calls may be running on it
  }
}

int num_threads() {
  const int count = thread_count.load(std::memory_order_relaxed);
  return count > 0 ? count : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace grunlock
