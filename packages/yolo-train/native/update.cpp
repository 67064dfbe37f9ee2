// The step of the optimizer and of the moving average over all parameters in one pass, and the sum
// of squares that the gradients are clipped by. Called with pointers into MXNet's arrays when its
// engine is at rest.
//
// Every value is computed by itself, and every sum by one thread in one order: the same bits from
// any number of threads. The passes wait for memory, not for the processor, so one set of
// instructions does.
#include <math.h>
#include <stdint.h>

#include "team.h"

#define YOLO_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int64_t kChunk = 4096;
constexpr int kLanes = 16;

enum Kind { kSgd = 0, kAdam = 1, kAdamW = 2 };

}  // namespace

// One parameter of `size` values. gradient is null for a parameter that is not trained, average
// where no average is kept; second is null for SGD.
struct Entry {
  const float* gradient;
  float *weight, *first, *second, *average;
  int64_t size;
  float rate, decay;
};

// rescale: of every gradient. momentum: of SGD, or Adam's first decay, `beta2` its second.
// correction: of Adam's rate. share: of the new weights in the average.
struct Rule {
  int kind;
  float rescale, momentum, beta2, epsilon, correction, share;
};

namespace {

using yolo::for_parts;

void sgd(const Entry& e, const Rule& r, int64_t begin, int64_t end) {
  const float* __restrict gradient = e.gradient;
  float* __restrict weight = e.weight;
  float* __restrict velocity = e.first;
  for (int64_t i = begin; i < end; ++i) {
    const float g = r.rescale * gradient[i] + e.decay * weight[i];
    const float v = r.momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] -= e.rate * (g + r.momentum * v);
  }
}

void adam(const Entry& e, const Rule& r, int64_t begin, int64_t end) {
  const float* __restrict gradient = e.gradient;
  float* __restrict weight = e.weight;
  float* __restrict mean = e.first;
  float* __restrict variance = e.second;
  const bool apart = r.kind == kAdamW;  // the decay has no part in the gradient
  const float kept = apart ? 1 - e.rate * e.decay : 1, decay = apart ? 0 : e.decay;
  const float rate = e.rate * r.correction, rest = 1 - r.momentum, rest2 = 1 - r.beta2;
  for (int64_t i = begin; i < end; ++i) {
    const float w = weight[i] * kept;
    const float g = r.rescale * gradient[i] + decay * w;
    const float m = r.momentum * mean[i] + rest * g;
    const float v = r.beta2 * variance[i] + rest2 * (g * g);
    mean[i] = m;
    variance[i] = v;
    weight[i] = w - rate * m / (sqrtf(v) + r.epsilon);
  }
}

void follow(const Entry& e, const Rule& r, int64_t begin, int64_t end) {
  const float* __restrict weight = e.weight;
  float* __restrict average = e.average;
  for (int64_t i = begin; i < end; ++i) average[i] += r.share * (weight[i] - average[i]);
}

struct Job {
  const Entry* entries;
  int count;
  const Rule* rule;
  double* sums;
};

// The values `begin` to `end` of all parameters behind each other.
void update_part(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  int64_t start = 0;
  for (int k = 0; k < job.count && start < end; ++k) {
    const Entry& e = job.entries[k];
    const int64_t low = begin > start ? begin - start : 0;
    const int64_t high = end - start < e.size ? end - start : e.size;
    // In pieces, so that the average finds the weights in the cache.
    for (int64_t from = low; from < high; from += kChunk) {
      const int64_t to = high - from < kChunk ? high : from + kChunk;
      if (e.gradient && job.rule->kind == kSgd) sgd(e, *job.rule, from, to);
      if (e.gradient && job.rule->kind != kSgd) adam(e, *job.rule, from, to);
      if (e.average) follow(e, *job.rule, from, to);
    }
    start += e.size;
  }
}

double square_sum(const float* x, int64_t size) {
  double all = 0;
  for (int64_t from = 0; from < size; from += kChunk) {
    const int64_t to = size - from < kChunk ? size : from + kChunk;
    float lane[kLanes] = {};
    int64_t i = from;
    for (; i + kLanes <= to; i += kLanes)
      for (int k = 0; k < kLanes; ++k) lane[k] += x[i + k] * x[i + k];
    for (int k = 0; i < to; ++i, ++k) lane[k] += x[i] * x[i];
    for (float each : lane) all += each;
  }
  return all;
}

void square_part(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  for (int64_t k = begin; k < end; ++k) {
    const Entry& e = job.entries[k];
    job.sums[k] = e.gradient ? square_sum(e.gradient, e.size) : 0;
  }
}

}  // namespace

// The sum of the squares of each parameter's gradient, 0 for one without.
YOLO_EXPORT void yolo_square_sums(const Entry* entries, int count, double* sums) {
  const Job job = {entries, count, nullptr, sums};
  for_parts(count, square_part, &job);
}

YOLO_EXPORT void yolo_update(const Entry* entries, int count, const Rule* rule) {
  const Job job = {entries, count, rule, nullptr};
  int64_t total = 0;
  for (int k = 0; k < count; ++k) total += entries[k].size;
  for_parts(total, update_part, &job);
}
