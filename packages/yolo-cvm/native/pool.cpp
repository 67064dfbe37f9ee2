// Workers look for a new round for a short while before they sleep: the steps of a network follow
// each other within microseconds, and waking a sleeping thread costs more than most steps.
#include "pool.h"

#include <chrono>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace cvm {
namespace {

constexpr auto kLook = std::chrono::microseconds(200);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__linux__)
int current_cpu() { return sched_getcpu(); }

// Moves this thread off a processor; where it may run later is left as it was. The kernel tends to
// wake a worker beside its caller, where each would wait for the other to be descheduled.
void leave_cpu(int cpu) {
  cpu_set_t allowed, others;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others))
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
int current_cpu() { return -1; }
void leave_cpu(int) {}
#endif

// Forks between the first process and this one. A child has the memory of its parent and none of
// its threads, so a pool that it inherits computes on the calling thread alone.
std::atomic<uint64_t> forks{0};
#if defined(__unix__) || defined(__APPLE__)
const int watched = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
#endif

}  // namespace

Pool::Pool(int threads) : process_(forks.load()) {
  try {
    for (int i = 1; i < threads; ++i) workers_->emplace_back([this, i] { work(i); });
  } catch (...) {
    // A machine that refuses more threads still computes, with those it gave.
    if (workers_->empty()) return;
  }
}

bool Pool::forked() const { return process_ != forks.load(std::memory_order_relaxed); }

Pool::~Pool() {
  if (forked()) {
    // The handles name threads of the parent: they can be neither joined nor let go. Nor can the
    // condition be destroyed: it counts sleepers that will never wake.
    (void)workers_.release();
    (void)wake_.release();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
    wake_->notify_all();
  }
  for (std::thread& w : *workers_) w.join();
}

void Pool::take(int thread) {
  const bool back = thread % 2;
  uint64_t state = state_.load(std::memory_order_acquire);
  while (open(state)) {
    const uint64_t claimed = state + (back ? (uint64_t)1 << kBits : 1);
    if (!state_.compare_exchange_weak(state, claimed, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    const int64_t task = back ? tasks_of(state) - 1 - from_back(state) : from_front(state);
    // The round cannot end before this task is counted as done.
    call_.load(std::memory_order_relaxed)(body_.load(std::memory_order_relaxed), task, thread);
    done_.fetch_add(1, std::memory_order_release);
    state = state_.load(std::memory_order_acquire);
  }
}

void Pool::run_all(int64_t tasks, Call call, const void* body) {
  call_.store(call, std::memory_order_relaxed);
  body_.store(body, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  caller_cpu_.store(current_cpu(), std::memory_order_relaxed);
  state_.store(++round_ << 3 * kBits | (uint64_t)tasks << 2 * kBits);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (sleeping_) wake_->notify_all();
  }
  take(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) < tasks; ++spins) {
    if (spins < 4096) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::work(int thread) {
  while (!stop_.load(std::memory_order_relaxed)) {
    const int caller = caller_cpu_.load(std::memory_order_relaxed);
    if (caller >= 0 && caller == current_cpu()) leave_cpu(caller);
    take(thread);
    const auto until = std::chrono::steady_clock::now() + kLook;
    for (int spins = 1; !open(state_.load(std::memory_order_acquire)); ++spins) {
      relax();
      if (spins % 64 || std::chrono::steady_clock::now() < until) continue;
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      wake_->wait(lock, [&] { return stop_.load() || open(state_.load()); });
      --sleeping_;
      break;
    }
  }
}

}  // namespace cvm
