// A pool of worker threads that belongs to one execution; nothing is shared between executions.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace cvm {

class Pool {
 public:
  explicit Pool(int threads);  // counts the calling thread
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return (int)workers_->size() + 1; }

  // Calls body(task, thread) for every task in [0, tasks), in any order, and returns when all are
  // done. Threads of even numbers begin with the first task, the others with the last: what a thread
  // has written in one step, it tends to read in the next, and that is still in its caches. thread: which of `threads()` runs it, 0 being the caller. `body` must not throw, and what
  // it computes must not depend on the thread.
  template <class Body>
  void run_on(int64_t tasks, const Body& body) {
    if (tasks <= 1 || tasks >= kMostTasks || workers_->empty() || forked()) {
      for (int64_t i = 0; i < tasks; ++i) body(i, 0);
      return;
    }
    const Call call = [](const void* b, int64_t i, int thread) {
      (*static_cast<const Body*>(b))(i, thread);
    };
    run_all(tasks, call, &body);
  }
  template <class Body>
  void run(int64_t tasks, const Body& body) {
    run_on(tasks, [&body](int64_t task, int) { body(task); });
  }

 private:
  using Call = void (*)(const void*, int64_t, int);
  // One word holds a round's number of tasks and how many have been claimed from either end, so that
  // a claim is valid for the round it was made in, however long the claimant slept before.
  static constexpr int kBits = 16;
  static constexpr int64_t kMostTasks = (int64_t)1 << kBits;
  static int64_t part_of(uint64_t state, int number) {
    return (int64_t)(state >> number * kBits & (kMostTasks - 1));
  }
  static int64_t from_front(uint64_t state) { return part_of(state, 0); }
  static int64_t from_back(uint64_t state) { return part_of(state, 1); }
  static int64_t tasks_of(uint64_t state) { return part_of(state, 2); }
  static bool open(uint64_t state) {
    return from_front(state) + from_back(state) < tasks_of(state);
  }
  // Whether this process is a child of the one that started the workers: they do not exist here.
  bool forked() const;
  void run_all(int64_t tasks, Call call, const void* body);
  void work(int thread);
  void take(int thread);

  std::unique_ptr<std::vector<std::thread>> workers_ = std::make_unique<std::vector<std::thread>>();
  uint64_t process_;  // which process, counted in forks, started the workers
  std::mutex mutex_;
  std::unique_ptr<std::condition_variable> wake_ = std::make_unique<std::condition_variable>();
  std::atomic<uint64_t> state_{0};  // round | tasks | claimed from the back | from the front
  std::atomic<int64_t> done_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> caller_cpu_{-1};
  int sleeping_ = 0;  // guarded by mutex_
  uint64_t round_ = 0;
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> body_{nullptr};
};

}  // namespace cvm
