// Threads that work together on one call. Results never depend on how many there are.
#pragma once

#include <atomic>
#include <cstdint>

namespace grunlock {

// The threads of one call, as each of them sees it.
class Team {
 public:
  Team(int rank, int size, std::atomic<int64_t>* arrived) : rank_(rank), size_(size), arrived_(arrived) {}

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Returns once all threads of the team have called it as often as this one.
  void barrier();

 private:
  int rank_;
  int size_;
  int64_t passed_ = 0;
  std::atomic<int64_t>* arrived_;  // counts all arrivals since the team began
};

// Calls body(context, team) on this thread (rank 0) and on up to max_size - 1 idle threads at the same time, and
// returns when all are done. Threads busy with another caller's work are not waited for: the team is smaller then.
void run_team(int max_size, void (*body)(void* context, Team& team), void* context);

template <class Body>
void run_team(int max_size, Body&& body) {
  run_team(
      max_size, [](void* context, Team& team) { (*static_cast<Body*>(context))(team); }, static_cast<void*>(&body));
}

// body(context, item) for every item in [0, items), on as many threads as are idle.
void parallel_for(int64_t items, void (*body)(void* context, int64_t item), void* context);

// Runs teams on GNU OpenMP's threads from now on; omp_get_thread_num and omp_get_num_threads of the same runtime.
void use_host_threads(void* gomp_parallel, void* thread_num, void* num_threads);

void set_num_threads(int count);
int num_threads();

}  // namespace grunlock
