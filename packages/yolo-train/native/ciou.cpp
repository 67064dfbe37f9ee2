// Complete IoU (Zheng et al. 2020) of decoded boxes with their targets, in grid cells.
//
// Inputs: boxes [K, 4], raw numbers of a head; then, of any shape with K values, the targets'
// centres x and y from the cell, sizes w and h, and the anchors' sizes anchor_w and anchor_h.
// Output: the IoU, of the shape of x. The gradient is that of the boxes alone; the weight of the
// aspect term is constant in it.
#include <math.h>
#include <string.h>

#include "operator.h"
#include "team.h"

namespace yolo {
namespace {

constexpr int kInputs = 7, kOutputs = 1, kBox = 4, kAxes = 2;
constexpr double kEpsilon = 1e-7;
constexpr double kAspect = 4 / (M_PI * M_PI);

// A box and its target along one axis. The ends are the smaller and the larger coordinate.
struct Axis {
  double center_share, size_share;  // sigmoids of the raw numbers
  double anchor, center, size, target, target_size;
  double low, high, target_low, target_high;
  double shared, hull;  // lengths of what both have in common, below 0 for nothing, and of both

  Axis(double raw_center, double raw_size, double anchor, double target, double target_size)
      : center_share(sigmoid(raw_center)), size_share(sigmoid(raw_size)), anchor(anchor),
        center(2 * center_share - 0.5), size(4 * size_share * size_share * anchor),
        target(target), target_size(target_size), low(center - size / 2), high(center + size / 2),
        target_low(target - target_size / 2), target_high(target + target_size / 2),
        shared(fmin(high, target_high) - fmax(low, target_low)),
        hull(fmax(high, target_high) - fmin(low, target_low)) {}

  static double sigmoid(double raw) { return 1 / (1 + exp(-raw)); }
};

struct Terms {
  double overlap, joined, iou, distance, diagonal, ratio, angles, aspect, weight;

  Terms(const Axis& x, const Axis& y) {
    overlap = fmax(x.shared, 0) * fmax(y.shared, 0);
    joined = x.size * y.size + x.target_size * y.target_size - overlap + kEpsilon;
    iou = overlap / joined;
    diagonal = x.hull * x.hull + y.hull * y.hull + kEpsilon;
    const double away_x = x.target - x.center, away_y = y.target - y.center;
    distance = away_x * away_x + away_y * away_y;
    ratio = x.size / (y.size + kEpsilon);
    angles = atan(x.target_size / (y.target_size + kEpsilon)) - atan(ratio);
    aspect = kAspect * angles * angles;
    weight = aspect / (aspect - iou + (1 + kEpsilon));
  }
};

struct Job {
  const float* boxes;
  const float* target[2 * kAxes];  // x, y, w, h
  const float* anchor[kAxes];
  const float* slope;  // of the IoU
  float *iou, *gradient;

  Axis axis(int64_t k, int which) const {
    const float* box = boxes + k * kBox;
    return Axis(box[which], box[kAxes + which], anchor[which][k], target[which][k],
                target[kAxes + which][k]);
  }
};

void forward_part(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  for (int64_t k = begin; k < end; ++k) {
    const Terms t(job.axis(k, 0), job.axis(k, 1));
    job.iou[k] = (float)(t.iou - (t.distance / t.diagonal + t.aspect * t.weight));
  }
}

// The gradient of the raw numbers of one axis. size: the gradient of the box's size so far.
void down(const Axis& a, double other_shared, double overlap, double diagonal, double distance,
          double size, float* raw_center, float* raw_size) {
  const double shared = a.shared > 0 ? overlap * fmax(other_shared, 0) : 0;
  const double hull = 2 * diagonal * a.hull;
  const double high = (a.high <= a.target_high ? shared : 0) + (a.high >= a.target_high ? hull : 0);
  const double low = -(a.low >= a.target_low ? shared : 0) - (a.low <= a.target_low ? hull : 0);
  const double center = high + low - 2 * distance * (a.target - a.center);
  size += (high - low) / 2;
  *raw_center = (float)(center * 2 * a.center_share * (1 - a.center_share));
  *raw_size = (float)(size * 8 * a.anchor * a.size_share * a.size_share * (1 - a.size_share));
}

void backward_part(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  for (int64_t k = begin; k < end; ++k) {
    const Axis x = job.axis(k, 0), y = job.axis(k, 1);
    const Terms t(x, y);
    const double slope = job.slope[k];
    const double joined = -slope * t.iou / t.joined;
    const double overlap = slope / t.joined - joined;
    const double distance = -slope / t.diagonal;
    const double diagonal = slope * t.distance / (t.diagonal * t.diagonal);
    const double angles = -slope * t.weight * 2 * kAspect * t.angles;
    const double ratio = -angles / (1 + t.ratio * t.ratio);
    const double width = joined * y.size + ratio / (y.size + kEpsilon);
    const double height = joined * x.size - ratio * t.ratio / (y.size + kEpsilon);
    float* to = job.gradient + k * kBox;
    down(x, y.shared, overlap, diagonal, distance, width, to, to + kAxes);
    down(y, x.shared, overlap, diagonal, distance, height, to + 1, to + kAxes + 1);
  }
}

const char* parse(const Attributes&, int* inputs, int* outputs) {
  *inputs = kInputs;
  *outputs = kOutputs;
  return nullptr;
}

const char* shapes(const Attributes&, Shape* in, int, Shape* out, int) {
  if (in[0].dims != 2 || in[0].extent[1] != kBox) return "yolo_ciou needs boxes [K, 4]";
  for (int i = 1; i < kInputs; ++i)
    if (in[i].dims < 1 || in[i].size() != in[0].extent[0])
      return "yolo_ciou needs a target and an anchor for every box";
  out[0] = in[1];
  return nullptr;
}

Job job_of(float* const* in) {
  Job job = {};
  job.boxes = in[0];
  for (int i = 0; i < 2 * kAxes; ++i) job.target[i] = in[1 + i];
  for (int i = 0; i < kAxes; ++i) job.anchor[i] = in[1 + 2 * kAxes + i];
  return job;
}

const char* forward(const Call& call) {
  Job job = job_of(call.in);
  job.iou = call.out[0];
  for_parts(call.shapes[0].size(), forward_part, &job);
  return nullptr;
}

const char* backward(const Call& call) {
  Job job = job_of(call.in + kOutputs);
  job.slope = call.in[0];
  job.gradient = call.out[0];
  const int64_t count = call.shapes[0].extent[0];
  for_parts(count, backward_part, &job);
  for (int i = 1; i < kInputs; ++i) memset(call.out[i], 0, count * sizeof(float));
  return nullptr;
}

}  // namespace

const Operator kCiou = {"yolo_ciou", parse, shapes, nullptr, 0, forward, backward};

}  // namespace yolo
