// A plan: tensors with their places in memory, constants, and steps in order. Immutable once made.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arch/kernels.h"
#include "pieces.h"
#include "pool.h"

namespace cvm {

// The plan contradicts itself; the planner in Python has a defect, never the user's file.
struct PlanError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool ok, const char* what) {
  if (!ok) throw PlanError(what);
}

// Plain tensors are dense int32 in row-major order. Images are pixels of `dtype` with strides and
// a border of `halo` pixels around every image.
struct Tensor {
  Storage storage;
  int64_t index;   // which constant or output
  int64_t offset;  // bytes to the first element
  int32_t dtype;
  int64_t ndim;
  int64_t dims[6];  // images: batch, height, width, channels
  int64_t image_stride, row_stride, pixel_stride;
  int64_t halo;
  bool image;
  int64_t count;  // elements, without halo
};

struct Constant {
  const int32_t* data;  // null for one that is left out
  int64_t count;
};

// Weights as the caller keeps them.
struct Weights {
  const void* data;
  int64_t count;
  bool bytes;  // int8, else int32
  // f(values) with a pointer to either type, so that loops over millions need not ask for each.
  template <class F>
  auto visit(const F& f) const {
    return bytes ? f(static_cast<const int8_t*>(data)) : f(static_cast<const int32_t*>(data));
  }
};

class Execution;
struct Plan;

// Working memory of a step besides tensors, in bytes.
struct Scratch {
  int64_t shared = 0;      // one for all threads
  int64_t per_thread = 0;  // one for each
};

class Step {
 public:
  virtual ~Step() = default;
  virtual Scratch scratch() const { return {}; }
  // Whether it reads all of the input, and looks whether that lies within its bound.
  virtual bool checks_input(const Plan&) const { return false; }
  // As much of it as can be done before `e.late()`; returns whether that is all. To be called until
  // it is. Must not throw: everything that can fail is done when the plan is made.
  virtual bool advance(Execution& e) const = 0;
};

// A step that takes little longer than its data are large, and is done at once.
class WholeStep : public Step {
 public:
  virtual void run(Execution& e) const = 0;
  bool advance(Execution& e) const final {
    run(e);
    return true;
  }
};

// Reads the words of a plan in order and refuses to read past the end.
class Words {
 public:
  Words(const int64_t* data, int64_t count) : data_(data), count_(count) {}
  int64_t next() {
    require(at_ < count_, "plan is too short");
    return data_[at_++];
  }
  int64_t next(int64_t lo, int64_t hi) {
    const int64_t v = next();
    require(v >= lo && v <= hi, "plan holds a number out of range");
    return v;
  }
  int64_t dim() { return next(1, (int64_t)1 << 30); }
  bool done() const { return at_ == count_; }
  Words part(int64_t length) {
    require(length >= 0 && length <= count_ - at_, "plan is too short");
    Words w(data_ + at_, length);
    at_ += length;
    return w;
  }

 private:
  const int64_t* data_;
  int64_t count_, at_ = 0;
};

struct Plan {
  const Kernels* kernels;
  int64_t arena_bytes;
  Scratch scratch;  // the most that a step needs
  std::vector<Constant> constants;  // of int32; those of bytes are empty
  std::vector<Weights> weights;     // the same in either form, valid while the plan is made
  std::vector<Tensor> tensors;
  std::vector<int64_t> output_counts;
  int64_t input_count;
  std::unique_ptr<PieceBook> pieces;  // where the instruction set makes use of them
  std::vector<std::unique_ptr<Step>> steps;

  const Tensor& tensor(int64_t id) const {
    require(id >= 0 && id < (int64_t)tensors.size(), "tensor id out of range");
    return tensors[(size_t)id];
  }
  const Tensor& plain(int64_t id) const {
    require(!tensor(id).image, "plain tensor expected");
    return tensor(id);
  }
  const Tensor& image(int64_t id) const {
    require(tensor(id).image, "image expected");
    return tensor(id);
  }
  // A plain tensor that a step may write.
  const Tensor& target(int64_t id) const {
    const Tensor& t = plain(id);
    require(t.storage == Storage::kArena || t.storage == Storage::kOutput, "target is read-only");
    return t;
  }
  std::optional<Tensor> optional_plain(int64_t id) const {
    return id == -1 ? std::nullopt : std::optional<Tensor>(plain(id));
  }
  Constant optional_constant(int64_t id) const {
    return id == -1 ? Constant{nullptr, 0} : constant(id);
  }
  const Weights& weights_of(int64_t id) const {
    require(id >= 0 && id < (int64_t)weights.size(), "constant id out of range");
    return weights[(size_t)id];
  }
  const Constant& constant(int64_t id) const {
    require(id >= 0 && id < (int64_t)constants.size(), "constant id out of range");
    require(constants[(size_t)id].count > 0, "a constant of int32 expected");
    return constants[(size_t)id];
  }
};

// One axis of a loop: how far each operand moves, in elements.
struct Axis {
  int64_t size, stride[3];
};

// Reads the number of axes, their sizes, then their strides for each of `operands` operands.
inline std::vector<Axis> read_axes(Words& w, int operands) {
  std::vector<Axis> axes((size_t)w.next(0, kMaxAxes));
  for (Axis& a : axes) a.size = w.dim();
  for (int j = 0; j < operands; ++j)
    for (Axis& a : axes) a.stride[j] = w.next(-((int64_t)1 << 40), (int64_t)1 << 40);
  return axes;
}

// Every element that operand j can touch, from `start`, must lie inside its tensor.
void check_reach(const std::vector<Axis>& axes, int j, int64_t start, int64_t count);
// Elements of the whole loop.
int64_t product(const std::vector<Axis>& axes);

// Throws PlanError or std::bad_alloc. Constants of int32 are read by plain steps later, so they must
// outlive the plan.
std::unique_ptr<Plan> make_plan(Words words, const void* const* constants,
                                const int64_t* constant_counts, const Kernels* kernels);

// How far a step has got that is done in parts; zeros before its first part.
struct Progress {
  int64_t batch, candidates, next, sorted, kept;
  bool begun;
};

constexpr int64_t kGrain = 1 << 14;  // elements below which a second thread does not pay

// One run at a time; several executions of one plan may run at once.
class Execution {
 public:
  Execution(const Plan& plan, int threads);
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  const Plan& plan;
  Pool pool;
  const int32_t* input = nullptr;
  std::vector<int32_t*> outputs;
  int64_t next_step = 0;
  Progress progress{};
  int32_t bound = INT32_MAX;        // values of the input lie within [-bound, bound],
  std::atomic<bool> inside{true};   // or this becomes false and the run ends
  std::chrono::steady_clock::time_point due{};  // when the caller wants to be asked
  bool late() const { return std::chrono::steady_clock::now() >= due; }
  bool products = true;  // without, convolutions only run their epilogues, for profiles
  std::vector<double> seconds;  // per step, summed over runs

  uint8_t* address(const Tensor& t) const {
    switch (t.storage) {
      case Storage::kArena: return arena_ + t.offset;
      case Storage::kConstant:
        return (uint8_t*)const_cast<int32_t*>(plan.constants[(size_t)t.index].data) + t.offset;
      case Storage::kInput: return (uint8_t*)const_cast<int32_t*>(input) + t.offset;
      default: return (uint8_t*)outputs[(size_t)t.index] + t.offset;
    }
  }
  const Loops& loops() const { return plan.kernels->loops; }
  int32_t* values(const Tensor& t) const { return (int32_t*)address(t); }
  // Working memory of the step that runs; aligned to 64 bytes.
  uint8_t* shared() const { return scratch_; }
  uint8_t* own(int thread) const {
    return scratch_ + plan.scratch.shared + thread * plan.scratch.per_thread;
  }

  // Calls body(begin, end) on equal pieces of [0, count), at least `grain` each but the last.
  template <class Body>
  void split(int64_t count, int64_t grain, const Body& body) {
    const int64_t most = 64, wanted = (count + grain - 1) / grain;
    const int64_t pieces = wanted < 1 ? 1 : (wanted > most ? most : wanted);
    pool.run(pieces, [&](int64_t i) {
      // count < 2^62 / 64, so the products stay in range
      body(count * i / pieces, count * (i + 1) / pieces);
    });
  }

 private:
  int64_t bytes_;  // of arena and scratch
  uint8_t* arena_;
  uint8_t* scratch_;  // behind the arena
};

// Defines the maker of a step, as the table of the format names it.
#define CVM_STEP(name, Class)                                      \
  std::unique_ptr<Step> make_##name(Words& w, const Plan& p) {     \
    return std::make_unique<Class>(w, p);                          \
  }

}  // namespace cvm

#include "format_fields.h"
