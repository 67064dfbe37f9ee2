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

// Weights of bytes that are known: a block of units after the other, its weights term by term.
struct DenseBytes : WholeStep, DenseBytesFields {
  std::vector<int8_t> packed;  // [blocks][inner][kDenseLanes]
  DenseBytes(Words& w, const Plan& p) : DenseBytesFields(w, p) {
    require((__int128)rows * inner == x.count && (__int128)units * inner == weight.count &&
                (__int128)rows * units == out.count && (!bias || bias->count == units),
            "dense sizes differ");
    require(weight.bytes, "weights of bytes expected");
    const int8_t* given = static_cast<const int8_t*>(weight.data);
    packed.resize((size_t)(blocks() * inner * kDenseLanes));
    for (int64_t unit = 0; unit < units; ++unit) {
      int8_t* to = packed.data() + unit / kDenseLanes * inner * kDenseLanes + unit % kDenseLanes;
      for (int64_t k = 0; k < inner; ++k) to[k * kDenseLanes] = given[unit * inner + k];
    }
  }
  int64_t blocks() const { return (units + kDenseLanes - 1) / kDenseLanes; }
  void run(Execution& e) const override {
    const int32_t *a = e.values(x), *c = bias ? e.values(*bias) : nullptr;
    int32_t* d = e.values(out);
    const int64_t groups = (rows + kDenseRows - 1) / kDenseRows;
    // Weights are the larger part: every block of them is read for all rows before the next.
    e.split(blocks() * groups, std::max<int64_t>(1, kGrain / inner / kDenseLanes),
            [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const int64_t row = i % groups * kDenseRows, unit = i / groups * kDenseLanes;
                const int64_t some = std::min(kDenseRows, rows - row);
                const int64_t count = std::min(kDenseLanes, units - unit);
                alignas(64) int32_t sums[kDenseRows * kDenseLanes] = {0};
                for (int64_t r = 0; c && r < some; ++r)
                  std::copy(c + unit, c + unit + count, sums + r * kDenseLanes);
                e.loops().dense(a + row * inner, some, inner,
                                packed.data() + unit * inner, sums);
                for (int64_t r = 0; r < some; ++r)
                  std::copy(sums + r * kDenseLanes, sums + r * kDenseLanes + count,
                            d + (row + r) * units + unit);
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

// The largest of every window: first of its rows, then of neighbours in what they leave.
struct MaxPool : WholeStep, MaxPoolFields {
  int64_t reach;  // values of a row that windows reach, the border to the left included
  MaxPool(Words& w, const Plan& p) : MaxPoolFields(w, p) {
    require((__int128)batch * channels * height * width == x.count &&
                (__int128)batch * channels * out_height * out_width == out.count,
            "pooling sizes differ");
    const __int128 most = std::max((__int128)(out_width - 1) * stride_w + kernel_w,
                                   (__int128)pad_w + width);
    require(most <= (__int128)1 << 32, "a pooling window reaches too far");
    reach = (int64_t)most;
  }
  Scratch scratch() const override { return {0, reach * 4}; }
  void run(Execution& e) const override {
    const int64_t rows = batch * channels * out_height;
    const int64_t each = std::max<int64_t>(1, kGrain / out_width / kernel_h / kernel_w);
    const int64_t pieces = std::min<int64_t>((rows + each - 1) / each, 64);
    e.pool.run_on(pieces, [&](int64_t piece, int thread) {
      int32_t* largest = (int32_t*)e.own(thread);
      std::fill(largest, largest + reach, INT32_MIN);
      for (int64_t i = rows * piece / pieces; i < rows * (piece + 1) / pieces; ++i) {
        const int64_t top = i % out_height * stride_h - pad_h;
        const int64_t y0 = std::max<int64_t>(0, top), y1 = std::min(height, top + kernel_h);
        const int32_t* plane = e.values(x) + i / out_height * height * width;
        std::fill(largest + pad_w, largest + pad_w + width, INT32_MIN);
        for (int64_t y = y0; y < y1; ++y)
          e.loops().max_rows(largest + pad_w, plane + y * width, width);
        e.loops().pool(largest, stride_w, kernel_w, out_width, e.values(out) + i * out_width);
      }
    });
  }
};

}  // namespace

CVM_STEP(dense, Dense)
CVM_STEP(dense_bytes, DenseBytes)
CVM_STEP(conv, Conv)
CVM_STEP(max_pool, MaxPool)

}  // namespace cvm
