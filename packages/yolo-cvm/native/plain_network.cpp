// Plain steps of neural networks and detection: dense and convolution of any kind, pooling,
// get_valid_counts, non_max_suppression. Dense int32 tensors.
#include <algorithm>
#include <cstring>

#include "plain_math.h"
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
            std::max<int64_t>(1, kGrain / (out_width * kernel_h * kernel_w)),
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

struct ValidCounts : Step, ValidCountsFields {
  ValidCounts(Words& w, const Plan& p) : ValidCountsFields(w, p) {
    require((__int128)batch * count * width == x.count && rows.count == x.count &&
                counts.count == batch,
            "get_valid_counts sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    int32_t *c = e.values(counts), *d = e.values(rows);
    const int64_t n = count, k = width;
    for (int64_t i = 0; i < batch; ++i) {
      int32_t* to = d + i * n * k;
      int32_t kept = 0;
      for (int64_t j = 0; j < n; ++j) {
        const int32_t* row = s + (i * n + j) * k;
        if (row[1] > threshold) std::memcpy(to + kept++ * k, row, (size_t)k * 4);
      }
      std::fill(to + kept * k, to + n * k, -1);
      c[i] = kept;
    }
  }
};

struct Suppress : Step, SuppressFields {
  // order: scratch for the sort, allocated with the plan
  Suppress(Words& w, const Plan& p) : SuppressFields(w, p) {
    require((__int128)batch * count * 6 == x.count && out.count == x.count &&
                counts.count == batch && order.count >= 2 * count,
            "non_max_suppression sizes differ");
  }
  // Stable merge sort of row numbers by falling score, without allocation.
  static int32_t* sort(const int32_t* rows, int64_t t, int32_t* from, int32_t* to) {
    for (int64_t i = 0; i < t; ++i) from[i] = (int32_t)i;
    for (int64_t width = 1; width < t; width *= 2) {
      for (int64_t lo = 0; lo < t; lo += 2 * width) {
        const int64_t mid = std::min(lo + width, t), hi = std::min(lo + 2 * width, t);
        std::merge(from + lo, from + mid, from + mid, from + hi, to + lo,
                   [rows](int32_t p, int32_t q) { return rows[p * 6L + 1] > rows[q * 6L + 1]; });
      }
      std::swap(from, to);
    }
    return from;
  }
  void run(Execution& e) const override {
    const int32_t *s = e.values(x), *valid = e.values(counts);
    int32_t *d = e.values(out), *scratch = e.values(order);
    const int64_t n = count;
    for (int64_t i = 0; i < batch; ++i) {
      const int32_t* rows = s + i * n * 6;
      int32_t* to = d + i * n * 6;
      const int64_t t = std::min<int64_t>(std::max(valid[i], 0), n);
      const int32_t* by_score = sort(rows, t, scratch, scratch + n);
      const int64_t tried = top_k >= 0 ? std::min<int64_t>(t, top_k) : t;
      const int64_t most = max_output >= 0 ? std::min<int64_t>(t, max_output) : t;
      int64_t kept = 0;
      for (int64_t j = 0; j < tried && kept < most; ++j) {
        const int32_t* row = rows + (int64_t)by_score[j] * 6;
        if (row[0] < 0) continue;
        bool drop = false;
        for (int64_t q = 0; q < kept && !drop; ++q)
          drop = (force || to[q * 6] == row[0]) && percent_overlap(to + q * 6, row) >= iou;
        if (!drop) std::memcpy(to + kept++ * 6, row, 24);
      }
      std::fill(to + kept * 6, to + n * 6, -1);
    }
  }
};

}  // namespace

CVM_STEP(dense, Dense)
CVM_STEP(conv, Conv)
CVM_STEP(max_pool, MaxPool)
CVM_STEP(valid_counts, ValidCounts)
CVM_STEP(suppress, Suppress)

}  // namespace cvm
