// Workers look for a new round for a short while before they sleep: the steps of a network follow
// each other within microseconds, and waking a sleeping thread costs more than most steps.
#include "pool.h"

#include <chrono>

namespace cvm {
namespace {

constexpr auto kLook = std::chrono::microseconds(100);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    // A machine that refuses more threads still computes, with those it gave.
    if (workers_.empty()) return;
  }
}

Pool::~Pool() {
  stop_.store(true);
  round_.fetch_add(1);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  for (std::thread& w : workers_) w.join();
}

void Pool::take() {
  const int64_t tasks = tasks_.load(std::memory_order_relaxed);
  for (;;) {
    const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= tasks) return;
    call_(body_, i);
  }
}

void Pool::run_all(int64_t tasks, Call call, const void* body) {
  call_ = call;
  body_ = body;
  tasks_.store(tasks, std::memory_order_relaxed);
  next_.store(0, std::memory_order_relaxed);
  busy_.store((int)workers_.size(), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_seq_cst);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (sleeping_) wake_.notify_all();
  }
  take();
  for (int spins = 0; busy_.load(std::memory_order_acquire); ++spins) {
    if (spins < 4096) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::work() {
  uint64_t seen = 0;
  for (;;) {
    const auto until = std::chrono::steady_clock::now() + kLook;
    int spins = 0;
    while (round_.load(std::memory_order_acquire) == seen) {
      relax();
      if (++spins % 64) continue;
      if (std::chrono::steady_clock::now() < until) continue;
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] { return round_.load() != seen; });
      --sleeping_;
    }
    ++seen;
    if (stop_.load()) return;
    take();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace cvm
