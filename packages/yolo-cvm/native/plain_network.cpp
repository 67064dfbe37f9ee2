// Plain steps of neural networks: dense and convolution of any kind, pooling. Dense int32 tensors.
#include <algorithm>

#include "plan.h"

namespace cvm {
namespace {

struct Dense : Step, DenseFields {
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

// Any groups, dilation, value range: the planner sends here what the byte kernels cannot take.
struct Conv : Step, ConvFields {
  Conv(Words& w, const Plan& p) : ConvFields(w, p) {
    require(channels % groups == 0 && outputs % groups == 0, "groups do not divide channels");
    require((__int128)batch * channels * height * width == x.count &&
                (__int128)outputs * (channels / groups) * kernel_h * kernel_w == weight.count &&
                (__int128)batch * outputs * out_height * out_width == out.count &&
                (!bias || bias->count == outputs),
            "convolution sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t *a = e.values(x), *k = e.values(weight);
    const int32_t* b = bias ? e.values(*bias) : nullptr;
    int32_t* d = e.values(out);
    const int64_t cg = channels / groups, og = outputs / groups;
    e.split(batch * outputs * out_height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = i % out_height, ch = i / out_height % outputs,
                      n = i / out_height / outputs;
        int32_t* row = d + i * out_width;
        std::fill(row, row + out_width, b ? b[ch] : 0);
        for (int64_t c = 0; c < cg; ++c) {
          const int32_t* plane = a + (n * channels + ch / og * cg + c) * height * width;
          for (int64_t r = 0; r < kernel_h; ++r) {
            const int64_t iy = y * stride_h + r * dilation_h - pad_h;
            if (iy < 0 || iy >= height) continue;
            for (int64_t t = 0; t < kernel_w; ++t) {
              const int32_t tap = k[((ch * cg + c) * kernel_h + r) * kernel_w + t];
              if (!tap) continue;
              // columns q with 0 <= q * stride_w + shift < width
              const int64_t shift = t * dilation_w - pad_w;
              const int64_t first = shift >= 0 ? 0 : (-shift + stride_w - 1) / stride_w;
              const int64_t past =
                  shift >= width ? 0
                                 : std::min(out_width, (width - shift + stride_w - 1) / stride_w);
              if (past <= first) continue;
              const int32_t* in = plane + iy * width + shift + first * stride_w;
              e.loops().multiply(row + first, in, stride_w, tap, past - first);
            }
          }
        }
      }
    });
  }
};

struct MaxPool : Step, MaxPoolFields {
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
