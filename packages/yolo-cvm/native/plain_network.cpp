// Plain steps of neural networks: dense and convolution of any kind, pooling. Dense int32 tensors.
#include <algorithm>

#include "plan.h"

namespace cvm {
namespace {

struct Dense : WholeStep, DenseFields {
  Dense(Words& w, const Plan& p) : DenseFields(w, p) {
    require((__int128)rows * inner == x.count && (__int128)units * inner == weight.count &&
                (__int128)rows * units == out.count && (!bias || bias->count == units),
            "dense sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t *a = e.values(x), *b = e.values(weight);
    const int32_t* c = bias ? e.values(*bias) : nullptr;
    int32_t* d = e.values(out);
    const int64_t k = inner, u = units;
    e.split(rows * u, std::max<int64_t>(1, kGrain / k), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / u, unit = i % u;
        d[i] = e.loops().dot(c ? c[unit] : 0, a + row * k, b + unit * k, k);
      }
    });
  }
};

// Any groups, dilation, value range: the planner sends here what the byte kernels cannot take, and
// traces. What neighbouring outputs read is laid out tap by tap, a lane for each of them, and every
// output channel of the group multiplies it.
struct Conv : Step, ConvFields {
  static constexpr int64_t kTaps = 512;                   // laid out at once: 32 KiB
  static constexpr int64_t kProducts = (int64_t)1 << 26;  // between two looks at the time
  int64_t pixels, taps, lanes, tiles, parts, items;
  Conv(Words& w, const Plan& p) : ConvFields(w, p) {
    require(channels % groups == 0 && outputs % groups == 0, "groups do not divide channels");
    require((__int128)batch * channels * height * width == x.count &&
                (__int128)outputs * (channels / groups) * kernel_h * kernel_w == weight.count &&
                (__int128)batch * outputs * out_height * out_width == out.count &&
                (!bias || bias->count == outputs),
            "convolution sizes differ");
    pixels = out_height * out_width;
    taps = channels / groups * kernel_h * kernel_w;
    lanes = pixels == 1 ? 1 : kTapLanes;
    tiles = (pixels + lanes - 1) / lanes;
    // Where there are few tiles, threads share their channels.
    parts = batch * groups * tiles < 16 ? std::min<int64_t>(outputs / groups, 16) : 1;
    items = batch * groups * tiles * parts;
  }
  Scratch scratch() const override { return {0, kTaps * kTapLanes * 4}; }
  bool advance(Execution& e) const override {
    const int64_t each = lanes * taps * (outputs / groups / parts);
    int64_t& next = e.progress.next;
    do {
      const int64_t at_once = std::max<int64_t>(e.pool.threads(), kProducts / each);
      const int64_t some = std::min(items - next, at_once);
      const int64_t pieces = some * each < kGrain ? 1 : std::min<int64_t>(some, 64);
      e.pool.run_on(pieces, [&](int64_t piece, int thread) {
        int32_t* laid = (int32_t*)e.own(thread);
        const int64_t end = next + some * (piece + 1) / pieces;
        for (int64_t i = next + some * piece / pieces; i < end; ++i) add_up(e, i, laid);
      });
      next += some;
    } while (next < items && !e.late());
    return next == items;
  }
  // One tile of pixels, for a part of a group's channels.
  void add_up(Execution& e, int64_t item, int32_t* laid) const {
    const int64_t part = item % parts, tile = item / parts % tiles;
    const int64_t group = item / parts / tiles % groups, n = item / parts / tiles / groups;
    const int64_t first = tile * lanes, count = std::min(lanes, pixels - first);
    const int64_t each = outputs / groups, begin = group * each + each * part / parts;
    const int64_t end = group * each + each * (part + 1) / parts;
    const int64_t inputs = channels / groups;
    const int32_t* planes = e.values(x) + (n * groups + group) * inputs * height * width;
    const int32_t *factors = e.values(weight), *added = bias ? e.values(*bias) : nullptr;
    int32_t* sums = e.values(out) + n * outputs * pixels + first;
    for (int64_t tap = 0; tap < taps; tap += kTaps) {
      const int64_t some = std::min(kTaps, taps - tap);
      lay_out(planes, first, count, tap, some, laid);
      for (int64_t o = begin; o < end; ++o) {
        int32_t* to = sums + o * pixels;
        if (tap == 0) std::fill(to, to + count, added ? added[o] : 0);
        const int32_t* with = factors + o * taps + tap;
        if (lanes == 1) {
          *to = e.loops().dot(*to, laid, with, some);
        } else {
          e.loops().multiply_lanes(to, laid, with, some, count);
        }
      }
    }
  }
  // Taps [tap, tap + some) of `count` pixels from pixel `first` on.
  void lay_out(const int32_t* planes, int64_t first, int64_t count, int64_t tap, int64_t some,
               int32_t* laid) const {
    int64_t column = tap % kernel_w, row = tap / kernel_w % kernel_h;
    const int32_t* plane = planes + tap / kernel_w / kernel_h * height * width;
    for (int64_t k = 0; k < some; ++k, laid += lanes) {
      int64_t y = first / out_width, q = first % out_width;
      for (int64_t lane = 0; lane < count; ++y, q = 0) {
        const int64_t run = std::min(count - lane, out_width - q);
        take_row(plane, y * stride_h + row * dilation_h - pad_h,
                 q * stride_w + column * dilation_w - pad_w, run, laid + lane);
        lane += run;
      }
      std::fill(laid + count, laid + lanes, 0);
      if (++column < kernel_w) continue;
      column = 0;
      if (++row < kernel_h) continue;
      row = 0;
      plane += height * width;
    }
  }
  // `count` values of a row of the input, `stride_w` apart; 0 outside of it.
  void take_row(const int32_t* plane, int64_t y, int64_t from, int64_t count, int32_t* to) const {
    if (y < 0 || y >= height) {
      std::fill(to, to + count, 0);
      return;
    }
    const int32_t* row = plane + y * width;
    if (stride_w == 1 && from >= 0 && from + count <= width) {
      std::copy(row + from, row + from + count, to);
    } else {
      for (int64_t i = 0, at = from; i < count; ++i, at += stride_w)
        to[i] = at >= 0 && at < width ? row[at] : 0;
    }
  }
};

struct MaxPool : WholeStep, MaxPoolFields {
  MaxPool(Words& w, const Plan& p) : MaxPoolFields(w, p) {
    require((__int128)batch * channels * height * width == x.count &&
                (__int128)batch * channels * out_height * out_width == out.count,
            "pooling sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t* a = e.values(x);
    int32_t* d = e.values(out);
    e.split(batch * channels * out_height,
            std::max<int64_t>(1, kGrain / out_width / kernel_h / kernel_w),
            [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const int64_t top = i % out_height * stride_h - pad_h;
                const int64_t y0 = std::max<int64_t>(0, top), y1 = std::min(height, top + kernel_h);
                const int32_t* plane = a + i / out_height * height * width;
                for (int64_t q = 0; q < out_width; ++q) {
                  const int64_t left = q * stride_w - pad_w;
                  const int64_t x0 = std::max<int64_t>(0, left),
                                x1 = std::min(width, left + kernel_w);
                  int32_t best = INT32_MIN;
                  for (int64_t y = y0; y < y1; ++y)
                    for (int64_t z = x0; z < x1; ++z) best = std::max(best, plane[y * width + z]);
                  d[i * out_width + q] = best;
                }
              }
            });
  }
};

}  // namespace

CVM_STEP(dense, Dense)
CVM_STEP(conv, Conv)
CVM_STEP(max_pool, MaxPool)

}  // namespace cvm
