// The functions of abi.h over the classes of plan.h.
#include <atomic>
#include <chrono>
#include <new>

#include "abi.h"
#include "picture.h"
#include "plan.h"

namespace {

thread_local std::string message;

enum Code : int { kDone = 0, kInvalid = 1, kMemory = 2 };

template <class F>
int guarded(const F& f) {
  try {
    f();
    return kDone;
  } catch (const std::bad_alloc&) {
    message = "not enough memory";
    return kMemory;
  } catch (const std::exception& e) {
    message = e.what();
    return kInvalid;
  }
}

}  // namespace

using namespace cvm;

CVM_API const char* cvm_message() { return message.c_str(); }
CVM_API const char* cvm_instruction_sets() { return runnable_kernels(); }

CVM_API int64_t cvm_format() { return kFingerprint; }

CVM_API int cvm_plan_new(const int64_t* words, int64_t count, const void* const* constants,
                         const int64_t* constant_counts, const char* instruction_set,
                         void** plan) {
  return guarded([&] {
    const Kernels* k = select_kernels(instruction_set);
    require(k, "this machine cannot run the instruction set");
    *plan = make_plan(Words(words, count), constants, constant_counts, k).release();
  });
}
CVM_API void cvm_plan_free(void* plan) { delete static_cast<Plan*>(plan); }
CVM_API const char* cvm_plan_instruction_set(const void* plan) {
  return static_cast<const Plan*>(plan)->kernels->name;
}

CVM_API int cvm_execution_new(const void* plan, int threads, void** execution) {
  return guarded([&] {
    require(threads >= 1 && threads <= 1024, "threads out of range");
    *execution = new Execution(*static_cast<const Plan*>(plan), threads);
  });
}
CVM_API void cvm_execution_free(void* execution) { delete static_cast<Execution*>(execution); }

CVM_API int cvm_begin(void* execution, const int32_t* input, int32_t* const* outputs,
                      int32_t bound) {
  Execution& e = *static_cast<Execution*>(execution);
  e.input = input;
  for (size_t i = 0; i < e.outputs.size(); ++i) e.outputs[i] = outputs[i];
  e.next_step = 0;
  e.progress = {};
  e.bound = bound;
  e.inside.store(true);
  if (e.plan.steps.empty() || !e.plan.steps[0]->checks_input(e.plan)) {
    e.split(e.plan.input_count, kGrain, [&](int64_t begin, int64_t end) {
      if (!e.loops().within(input + begin, end - begin, bound)) e.inside.store(false);
    });
  }
  return e.inside.load();
}

CVM_API int64_t cvm_advance(void* execution, int64_t stop, double seconds) {
  using Clock = std::chrono::steady_clock;
  Execution& e = *static_cast<Execution*>(execution);
  const int64_t all = (int64_t)e.plan.steps.size(), end = stop < all ? stop : all;
  Clock::time_point before = Clock::now();
  e.due = before + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (e.next_step < end) {
    const bool done = e.plan.steps[(size_t)e.next_step]->advance(e);
    const Clock::time_point now = Clock::now();
    e.seconds[(size_t)e.next_step] += std::chrono::duration<double>(now - before).count();
    before = now;
    if (!e.inside.load()) return -1;
    if (done) {
      ++e.next_step;
      e.progress = {};
    }
    if (now >= e.due) break;
  }
  return e.next_step;
}

CVM_API const void* cvm_address(const void* execution, int64_t tensor) {
  const Execution& e = *static_cast<const Execution*>(execution);
  return e.address(e.plan.tensors[(size_t)tensor]);
}
CVM_API void cvm_products(void* execution, int on) {
  static_cast<Execution*>(execution)->products = on != 0;
}
CVM_API const double* cvm_seconds(const void* execution) {
  return static_cast<const Execution*>(execution)->seconds.data();
}

CVM_API int cvm_resize(const uint8_t* image, int64_t height, int64_t width,
                       const int32_t* row_taps, int64_t rows, const int32_t* column_taps,
                       int64_t columns, uint8_t* out, const char* instruction_set) {
  return guarded([&] {
    const Kernels* k = select_kernels(instruction_set);
    require(k, "this machine cannot run the instruction set");
    resize_picture(k->loops, {image, height, width}, {row_taps, rows}, {column_taps, columns}, out);
  });
}

CVM_API int64_t cvm_ceiling(const char* instruction_set, int64_t rounds) {
  const Kernels* k = select_kernels(instruction_set);
  return k ? k->ceiling(rounds) : -1;
}
