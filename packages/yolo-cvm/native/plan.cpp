// Decoding and checking a plan; executions of it.
#include "plan.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#include <algorithm>
#include <new>

namespace cvm {
namespace {

// Wide loads at the end of a tensor may read past it, never write.
constexpr int64_t kSlack = 256;
constexpr int64_t kMaxBytes = (int64_t)1 << 46;
using Wide = __int128;

int64_t round_up(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

int64_t size_of(int32_t dtype) { return dtype == kInt8 ? 1 : dtype == kInt16 ? 2 : 4; }

int64_t storage_bytes(const Plan& p, const Tensor& t) {
  switch (t.storage) {
    case Storage::kArena: return p.arena_bytes;
    case Storage::kConstant:
      require(t.index >= 0 && t.index < (int64_t)p.constants.size(), "constant id out of range");
      return p.constants[(size_t)t.index].count * 4;
    case Storage::kInput: return p.input_count * 4;
    default:
      require(t.index >= 0 && t.index < (int64_t)p.output_counts.size(), "output out of range");
      return p.output_counts[(size_t)t.index] * 4;
  }
}

Tensor read_tensor(Words& w, const Plan& p) {
  Tensor t;
  t.storage = (Storage)w.next(0, 3);
  t.index = w.next(0, INT32_MAX);
  t.offset = w.next(0, kMaxBytes);
  t.dtype = (int32_t)w.next(0, 2);
  t.ndim = w.next(1, 6);
  t.count = 1;
  for (int i = 0; i < 6; ++i) {
    t.dims[i] = w.dim();
    if (i >= t.ndim) require(t.dims[i] == 1, "dimension beyond the last");
    require(t.count <= ((int64_t)1 << 40) / t.dims[i], "tensor too large");
    t.count *= t.dims[i];
  }
  t.image_stride = w.next(0, kMaxBytes);
  t.row_stride = w.next(0, kMaxBytes);
  t.pixel_stride = w.next(0, kMaxBytes);
  t.halo = w.next(0, 1 << 24);
  t.image = t.pixel_stride > 0;
  const int64_t bytes = storage_bytes(p, t), size = size_of(t.dtype);
  if (!t.image) {
    require(t.dtype == kInt32, "plain tensors are int32");
    require(t.offset % 4 == 0 && t.offset + t.count * 4 <= bytes, "tensor outside its storage");
    return t;
  }
  require(t.storage == Storage::kArena && t.ndim == 4, "images live in the arena");
  require(t.offset % size == 0, "image is misaligned");
  const Wide before = ((Wide)t.halo * t.row_stride + (Wide)t.halo * t.pixel_stride) * size;
  const Wide last = ((Wide)(t.dims[0] - 1) * t.image_stride +
                     (Wide)(t.dims[1] - 1 + t.halo) * t.row_stride +
                     (Wide)(t.dims[2] - 1 + t.halo) * t.pixel_stride + t.dims[3]) * size;
  require((Wide)t.offset >= before && (Wide)t.offset + last <= bytes, "image outside the arena");
  return t;
}

}  // namespace

std::unique_ptr<Plan> make_plan(Words w, const void* const* constants,
                                const int64_t* constant_counts, const Kernels* kernels) {
  auto plan = std::make_unique<Plan>();
  plan->kernels = kernels;
  if (kernels->lookup) plan->pieces = std::make_unique<PieceBook>();
  require(w.next() == kFingerprint, "not a plan of this version");
  plan->arena_bytes = w.next(0, kMaxBytes);
  plan->input_count = w.next(1, (int64_t)1 << 40);
  const int64_t n_constants = w.next(0, INT32_MAX), n_tensors = w.next(0, INT32_MAX);
  const int64_t n_steps = w.next(0, INT32_MAX), n_outputs = w.next(1, INT32_MAX);
  for (int64_t i = 0; i < n_outputs; ++i)
    plan->output_counts.push_back(w.next(1, (int64_t)1 << 40));
  for (int64_t i = 0; i < n_constants; ++i) {
    require(constant_counts[i] > 0 && constant_counts[i] <= (int64_t)1 << 40, "constant size");
    const bool bytes = w.next(1, 4) == 1;
    plan->weights.push_back({constants[i], constant_counts[i], bytes});
    plan->constants.push_back({bytes ? nullptr : static_cast<const int32_t*>(constants[i]),
                               bytes ? 0 : constant_counts[i]});
  }
  for (int64_t i = 0; i < n_tensors; ++i) plan->tensors.push_back(read_tensor(w, *plan));
  for (int64_t i = 0; i < n_steps; ++i) {
    Words step = w.part(w.next(1, INT32_MAX));
    const int64_t kind = step.next();
    plan->steps.push_back(make_step(kind, step, *plan));
    require(step.done(), "a step has words left over");
    const Scratch needs = plan->steps.back()->scratch();
    plan->scratch.shared = std::max(plan->scratch.shared, round_up(needs.shared));
    plan->scratch.per_thread = std::max(plan->scratch.per_thread, round_up(needs.per_thread));
  }
  require(w.done(), "a plan has words left over");
  plan->weights.clear();
  return plan;
}

namespace {

// Large memory comes in few pages where the system has huge ones: to walk over images by channels and
// rows touches more of the small ones than a processor keeps in mind.
constexpr int64_t kPage = 1 << 21;

std::align_val_t alignment_of(int64_t bytes) {
#if defined(__linux__)
  if (bytes >= kPage) return std::align_val_t(kPage);
#endif
  return std::align_val_t(kAlign);
}

}  // namespace

Execution::Execution(const Plan& p, int threads)
    : plan(p), pool(threads), outputs(p.output_counts.size()), seconds(p.steps.size()) {
  const int64_t arena = round_up(p.arena_bytes + kSlack);
  const int64_t scratch = p.scratch.shared + p.scratch.per_thread * pool.threads();
  bytes_ = arena + scratch;
  arena_ = static_cast<uint8_t*>(::operator new((size_t)bytes_, alignment_of(bytes_)));
#if defined(__linux__)
  if (bytes_ >= kPage) (void)madvise(arena_, (size_t)bytes_, MADV_HUGEPAGE);  // only a wish
#endif
  scratch_ = arena_ + arena;
}

Execution::~Execution() { ::operator delete(arena_, alignment_of(bytes_)); }

}  // namespace cvm
