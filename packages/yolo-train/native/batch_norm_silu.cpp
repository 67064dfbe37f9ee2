// Batch normalisation and SiLU: data, gamma, beta, moving mean and variance -> y, mean and inverse
// deviation of the batch. Attributes: eps, momentum.
#include <math.h>
#include <string.h>

#include "operator.h"
#include "team.h"

namespace yolo {
namespace {

constexpr int kInputs = 5, kOutputs = 3;
constexpr int kStatistics = 2;  // moving mean and variance, which training changes
constexpr int kChanged[kStatistics] = {3, 4};

struct Job {
  const Kernels* kernels;
  int64_t channels;
  Channel place;
  float epsilon, momentum;
  const float *x, *gamma, *beta, *dy, *mean, *inverse;
  float *moving_mean, *moving_variance, *y, *new_mean, *new_inverse;
  float *dx, *dgamma, *dbeta;
};

// A channel is worked on by one thread from beginning to end, whichever it is: sums do not depend
// on the number of threads.
template <void (*channel)(const Job&, int64_t)>
void channels(const void* job, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c) channel(*(const Job*)job, c);
}

void forward_channel(const Job& job, int64_t c) {
  const float* x = job.x + c * job.place.pixels;
  double mean, variance;
  job.kernels->moments(job.place, x, &mean, &variance);
  const Norm norm = {(float)mean, (float)(1 / sqrt(variance + job.epsilon)), job.gamma[c],
                     job.beta[c]};
  job.new_mean[c] = norm.mean;
  job.new_inverse[c] = norm.inverse;
  const float kept = job.momentum;
  job.moving_mean[c] = job.moving_mean[c] * kept + norm.mean * (1 - kept);
  job.moving_variance[c] = job.moving_variance[c] * kept + (float)variance * (1 - kept);
  job.kernels->forward(job.place, norm, x, job.y + c * job.place.pixels);
}

void backward_channel(const Job& job, int64_t c) {
  const int64_t from = c * job.place.pixels;
  const Norm norm = {job.mean[c], job.inverse[c], job.gamma[c], job.beta[c]};
  double sum, product;
  job.kernels->sums(job.place, norm, job.x + from, job.dy + from, job.dx + from, &sum, &product);
  job.dgamma[c] = (float)product;
  job.dbeta[c] = (float)sum;
  const double count = (double)job.place.images * (double)job.place.pixels;
  job.kernels->backward(job.place, norm, job.x + from, (float)(sum / count),
                        (float)(product / count), job.dx + from);
}

const char* parse(const Attributes& attributes, int* inputs, int* outputs) {
  *inputs = kInputs;
  *outputs = kOutputs;
  const float epsilon = attributes.number("eps"), momentum = attributes.number("momentum");
  const bool right = epsilon >= 0 && momentum >= 0 && momentum <= 1;
  return right ? nullptr : "yolo_batch_norm_silu needs eps and momentum";
}

const char* shapes(const Attributes&, Shape* in, int, Shape* out, int) {
  if (in[0].dims < 2) return "yolo_batch_norm_silu needs a tensor of at least two dimensions";
  const Shape channels = {1, {in[0].extent[1]}};
  for (int i = 1; i < kInputs; ++i) in[i] = channels;
  out[0] = in[0];
  for (int i = 1; i < kOutputs; ++i) out[i] = channels;
  return nullptr;
}

// Of a tensor [images, channels, ...].
bool extents(const Call& call, Job* job) {
  const Shape& shape = call.shapes[0];
  if (shape.dims < 2 || !shape.size()) return false;
  const int64_t images = shape.extent[0], pixels = shape.size() / images / shape.extent[1];
  job->kernels = &call.kernels;
  job->channels = shape.extent[1];
  job->place = {images, pixels, shape.extent[1] * pixels};
  job->epsilon = call.attributes.number("eps");
  job->momentum = call.attributes.number("momentum");
  return true;
}

const char* forward(const Call& call) {
  Job job = {};
  if (!extents(call, &job)) return "yolo_batch_norm_silu: empty tensor";
  job.x = call.in[0], job.gamma = call.in[1], job.beta = call.in[2];
  job.moving_mean = call.in[3], job.moving_variance = call.in[4];
  job.y = call.out[0], job.new_mean = call.out[1], job.new_inverse = call.out[2];
  for_parts(job.channels, channels<forward_channel>, &job);
  return nullptr;
}

const char* backward(const Call& call) {
  Job job = {};
  if (!extents(call, &job)) return "yolo_batch_norm_silu: empty tensor";
  float* const* inputs = call.in + kOutputs;
  float* const* outputs = inputs + kInputs;
  job.dy = call.in[0];
  job.x = inputs[0], job.gamma = inputs[1], job.beta = inputs[2];
  job.mean = outputs[1], job.inverse = outputs[2];
  job.dx = call.out[0], job.dgamma = call.out[1], job.dbeta = call.out[2];
  for (int each : kChanged) memset(call.out[each], 0, job.channels * sizeof(float));
  for_parts(job.channels, channels<backward_channel>, &job);
  return nullptr;
}

}  // namespace

const Operator kBatchNormSilu = {"yolo_batch_norm_silu", parse, shapes, kChanged, kStatistics,
                                 forward, backward};

}  // namespace yolo
