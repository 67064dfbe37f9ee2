// The operators, and MXNet's plain C interface for libraries of operators (version 11 of it, that
// of MXNet 1.9.1, see lib_api.h of its wheel). The interface is declared here, so that nothing of
// MXNet is needed for compiling.
//
// What this version of MXNet does not do for such operators, and how it is met:
// - it does not say whether a gradient is to be added instead of written: callers hand gamma and
//   beta through an operator of MXNet's own, and the other gradients have one reader;
// - shapes of inputs that it has copied from oneDNN's layout can point to freed memory: only the
//   shapes of outputs are read;
// - it never frees the list of inputs that an operator changes: the list is a constant.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "team.h"

#define YOLO_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using yolo::Channel;
using yolo::Kernels;
using yolo::Norm;

constexpr int kVersion = 11, kLeastMXNet = 10900, kFirstOther = 20000;
constexpr int kFailed = 0, kDone = 1, kFloat32 = 0;
constexpr int kInputs = 5, kOutputs = 3;  // data gamma beta mean variance -> y mean inverse
constexpr int kStatistics = 2;            // moving mean and variance, which training changes

const Kernels* chosen = nullptr;
const char* message = nullptr;

int fail(const char* why) {
  message = why;
  return kFailed;
}

// A channel is worked on by one thread from beginning to end, whichever it is: sums do not depend
// on the number of threads.
template <void (*channel)(const void*, int64_t)>
void channels(const void* job, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c) channel(job, c);
}

// ---- batch normalisation and SiLU ----

struct Job {
  int64_t channels;
  Channel place;
  float epsilon, momentum;
  const float *x, *gamma, *beta, *dy, *mean, *inverse;
  float *moving_mean, *moving_variance, *y, *new_mean, *new_inverse;
  float *dx, *dgamma, *dbeta;
};

void forward_channel(const void* words, int64_t c) {
  const Job& job = *(const Job*)words;
  const float* x = job.x + c * job.place.pixels;
  double mean, variance;
  chosen->moments(job.place, x, &mean, &variance);
  const Norm norm = {(float)mean, (float)(1 / sqrt(variance + job.epsilon)), job.gamma[c],
                     job.beta[c]};
  job.new_mean[c] = norm.mean;
  job.new_inverse[c] = norm.inverse;
  const float kept = job.momentum;
  job.moving_mean[c] = job.moving_mean[c] * kept + norm.mean * (1 - kept);
  job.moving_variance[c] = job.moving_variance[c] * kept + (float)variance * (1 - kept);
  chosen->forward(job.place, norm, x, job.y + c * job.place.pixels);
}

void backward_channel(const void* words, int64_t c) {
  const Job& job = *(const Job*)words;
  const int64_t from = c * job.place.pixels;
  const Norm norm = {job.mean[c], job.inverse[c], job.gamma[c], job.beta[c]};
  double sum, product;
  chosen->sums(job.place, norm, job.x + from, job.dy + from, job.dx + from, &sum,
               &product);
  job.dgamma[c] = (float)product;
  job.dbeta[c] = (float)sum;
  const double count = (double)job.place.images * (double)job.place.pixels;
  chosen->backward(job.place, norm, job.x + from, (float)(sum / count), (float)(product / count),
                   job.dx + from);
}

float number(const char* const* keys, const char* const* values, int count, const char* key) {
  for (int i = 0; i < count; ++i)
    if (!strcmp(keys[i], key)) return strtof(values[i], nullptr);
  return NAN;
}

// Extents of a tensor [images, channels, ...].
bool extents(const int64_t* shape, int dims, Job* job) {
  if (dims < 2) return false;
  int64_t pixels = 1;
  for (int i = 2; i < dims; ++i) pixels *= shape[i];
  job->channels = shape[1];
  job->place = {shape[0], pixels, shape[1] * pixels};
  return shape[0] > 0 && pixels > 0;
}

// Markers: what MXNet hands back to say which function is meant.
void forward_marker() {}
void backward_marker() {}
void other_marker() {}

typedef void (*Marker)();

}  // namespace

// Name of the instruction set that works from now on; null where this machine lacks `name`.
YOLO_EXPORT const char* yolo_use(const char* name) {
  const Kernels* found = yolo::select_kernels(name);
  if (found) chosen = found;
  return found ? found->name : nullptr;
}

YOLO_EXPORT int _opVersion() { return kVersion; }

YOLO_EXPORT int initialize(int version) {
  if (!chosen) chosen = yolo::select_kernels(nullptr);
  return version >= kLeastMXNet && version < kFirstOther
             ? kDone
             : fail("yolo-train's operators are for MXNet 1.9");
}

YOLO_EXPORT int _msgSize() { return message ? 1 : 0; }
YOLO_EXPORT void _msgGet(int, const char** text) { *text = message ? message : ""; }

YOLO_EXPORT int _opRegSize() { return 1; }

YOLO_EXPORT void _opRegGet(int, const char** name, int* is_subgraph, const char*** forward_devices,
                           Marker** forward, int* forwards, const char*** backward_devices,
                           Marker** backward, int* backwards, const char*** state_devices,
                           Marker** states, int* state_count, Marker* parse, Marker* type,
                           Marker* storage, Marker* shape, Marker* mutate) {
  static const char* cpu[] = {"cpu"};
  static Marker forward_list[] = {forward_marker}, backward_list[] = {backward_marker};
  *name = "yolo_batch_norm_silu";
  *is_subgraph = 0;
  *forward_devices = *backward_devices = *state_devices = cpu;
  *forward = forward_list;
  *backward = backward_list;
  *forwards = *backwards = 1;
  *states = nullptr;
  *state_count = 0;
  *parse = *type = *shape = *mutate = other_marker;
  *storage = nullptr;
}

YOLO_EXPORT void _opCallFree(void* memory) { free(memory); }

YOLO_EXPORT int _opCallParseAttrs(Marker, const char* const* keys, const char* const* values,
                                  int count, int* inputs, int* outputs) {
  *inputs = kInputs;
  *outputs = kOutputs;
  const float epsilon = number(keys, values, count, "eps");
  const float momentum = number(keys, values, count, "momentum");
  if (!(epsilon >= 0 && momentum >= 0 && momentum <= 1))
    return fail("yolo_batch_norm_silu needs eps and momentum");
  return kDone;
}

YOLO_EXPORT int _opCallInferShape(Marker, const char* const*, const char* const*, int,
                                  unsigned** in, int* in_dims, int inputs, unsigned*** new_in,
                                  int** new_in_dims, unsigned*** out, int** out_dims,
                                  int outputs) {
  if (inputs != kInputs || outputs != kOutputs || in_dims[0] < 2)
    return fail("yolo_batch_norm_silu needs a tensor of at least two dimensions");
  const auto one = [](unsigned value) {
    unsigned* shape = (unsigned*)malloc(sizeof(unsigned));
    if (shape) *shape = value;
    return shape;
  };
  const auto same = [&]() {
    unsigned* shape = (unsigned*)malloc(in_dims[0] * sizeof(unsigned));
    if (shape) memcpy(shape, in[0], in_dims[0] * sizeof(unsigned));
    return shape;
  };
  *new_in = (unsigned**)malloc(kInputs * sizeof(unsigned*));
  *new_in_dims = (int*)malloc(kInputs * sizeof(int));
  *out = (unsigned**)malloc(kOutputs * sizeof(unsigned*));
  *out_dims = (int*)malloc(kOutputs * sizeof(int));
  if (!*new_in || !*new_in_dims || !*out || !*out_dims) return fail("no memory");
  for (int i = 0; i < kInputs; ++i) {
    (*new_in)[i] = i ? one(in[0][1]) : same();
    (*new_in_dims)[i] = i ? 1 : in_dims[0];
    if (!(*new_in)[i]) return fail("no memory");
  }
  for (int i = 0; i < kOutputs; ++i) {
    (*out)[i] = i ? one(in[0][1]) : same();
    (*out_dims)[i] = i ? 1 : in_dims[0];
    if (!(*out)[i]) return fail("no memory");
  }
  return kDone;
}

YOLO_EXPORT int _opCallInferType(Marker, const char* const*, const char* const*, int, int* in,
                                 int inputs, int* out, int outputs) {
  for (int i = 0; i < inputs; ++i) {
    if (in[i] > kFloat32) return fail("yolo_batch_norm_silu computes in float32");
    in[i] = kFloat32;
  }
  for (int i = 0; i < outputs; ++i) out[i] = kFloat32;
  return kDone;
}

YOLO_EXPORT int _opCallMutateInputs(Marker, const char* const*, const char* const*, int,
                                    int** indices, int* count) {
  static int moving[kStatistics] = {3, 4};
  *indices = moving;
  *count = kStatistics;
  return kDone;
}

// The words after `out_dims` and `outdata` that these operators have no use for are not named.
YOLO_EXPORT int _opCallFCompute(Marker which, const char* const* keys, const char* const* values,
                                int count, const int64_t**, int*, void** in, int*, size_t*,
                                const char**, int*, int inputs, const int64_t** out_shapes,
                                int* out_dims, void** out, int*, size_t*, const char**, int*,
                                int outputs, void*, void*, void*, void*, void*, void*, void*, int*,
                                int*, void**, void**, void**, void**, int64_t*, int64_t*, int64_t*,
                                int64_t*, void*, void*) {
  Job job = {};
  job.epsilon = number(keys, values, count, "eps");
  job.momentum = number(keys, values, count, "momentum");
  if (!extents(out_shapes[0], out_dims[0], &job)) return fail("yolo_batch_norm_silu: empty tensor");
  if (which == forward_marker && inputs == kInputs && outputs == kOutputs) {
    job.x = (const float*)in[0], job.gamma = (const float*)in[1], job.beta = (const float*)in[2];
    job.moving_mean = (float*)in[3], job.moving_variance = (float*)in[4];
    job.y = (float*)out[0], job.new_mean = (float*)out[1], job.new_inverse = (float*)out[2];
    yolo::for_parts(job.channels, channels<forward_channel>, &job);
    return kDone;
  }
  if (which == backward_marker && inputs == kInputs + 2 * kOutputs && outputs == kInputs) {
    // the gradients of the outputs, the inputs, the outputs
    job.dy = (const float*)in[0];
    job.x = (const float*)in[3], job.gamma = (const float*)in[4], job.beta = (const float*)in[5];
    job.mean = (const float*)in[9], job.inverse = (const float*)in[10];
    job.dx = (float*)out[0], job.dgamma = (float*)out[1], job.dbeta = (float*)out[2];
    for (int i = kInputs - kStatistics; i < kInputs; ++i)
      memset(out[i], 0, job.channels * sizeof(float));
    yolo::for_parts(job.channels, channels<backward_channel>, &job);
    return kDone;
  }
  return fail("yolo_batch_norm_silu was called with other tensors than it has");
}

// What the interface asks for besides, and this library does not have.
YOLO_EXPORT int _opCallInferSType() { return kFailed; }
YOLO_EXPORT int _opCallCreateOpState() { return kFailed; }
YOLO_EXPORT void _opCallDestroyOpState() {}
YOLO_EXPORT int _opCallFStatefulCompute() { return kFailed; }
YOLO_EXPORT int _partRegSize() { return 0; }
YOLO_EXPORT int _partRegGetCount() { return 0; }
YOLO_EXPORT void _partRegGet() {}
YOLO_EXPORT int _partCallSupportedOps() { return kFailed; }
YOLO_EXPORT int _partCallCreateSelector() { return kFailed; }
YOLO_EXPORT void _partCallSelect() {}
YOLO_EXPORT void _partCallSelectInput() {}
YOLO_EXPORT void _partCallSelectOutput() {}
YOLO_EXPORT void _partCallFilter() {}
YOLO_EXPORT void _partCallReset() {}
YOLO_EXPORT int _partCallReviewSubgraph() { return kFailed; }
YOLO_EXPORT int _passRegSize() { return 0; }
YOLO_EXPORT void _passRegGet() {}
YOLO_EXPORT int _passCallGraphPass() { return kFailed; }
