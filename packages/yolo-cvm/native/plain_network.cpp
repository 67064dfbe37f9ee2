// Plain steps of neural networks and detection: dense and convolution of any kind, pooling,
// get_valid_counts, non_max_suppression. Dense int32 tensors.
#include <algorithm>
#include <cstring>

#include "plain_math.h"
#include "plan.h"

namespace cvm {
namespace {

struct Dense : Step {
  Tensor x, weight, bias, out;
  bool has_bias;
  int64_t m, k, u;
  Dense(Words& w, const Plan& p) : x(p.plain(w.next())), weight(p.plain(w.next())) {
    const int64_t b = w.next();
    has_bias = b >= 0;
    bias = has_bias ? p.plain(b) : x;
    out = p.target(w.next());
    m = w.dim();
    k = w.dim();
    u = w.dim();
    require((__int128)m * k == x.count && (__int128)u * k == weight.count &&
                (__int128)m * u == out.count && (!has_bias || bias.count == u),
            "dense sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t *a = e.values(x), *b = e.values(weight);
    const int32_t* c = has_bias ? e.values(bias) : nullptr;
    int32_t* d = e.values(out);
    e.split(m * u, std::max<int64_t>(1, kGrain / k), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t *p = a + i / u * k, *q = b + i % u * k;
        uint32_t acc = c ? (uint32_t)c[i % u] : 0;
        for (int64_t j = 0; j < k; ++j) acc += (uint32_t)p[j] * (uint32_t)q[j];
        d[i] = (int32_t)acc;
      }
    });
  }
};

struct Window {
  int64_t n, c, h, w, ho, wo, kh, kw, sh, sw, ph, pw, dh, dw;
  explicit Window(Words& r)
      : n(r.dim()), c(r.dim()), h(r.dim()), w(r.dim()), ho(r.dim()), wo(r.dim()), kh(r.dim()),
        kw(r.dim()), sh(r.next(1, 4096)), sw(r.next(1, 4096)), ph(r.next(0, 4096)),
        pw(r.next(0, 4096)), dh(r.next(1, 4096)), dw(r.next(1, 4096)) {}
};

// Any groups, dilation, value range: the planner sends here what the byte kernels cannot take.
struct Conv : Step {
  Tensor x, weight, bias, out;
  bool has_bias;
  Window s;
  int64_t o, groups;
  Conv(Words& w, const Plan& p)
      : x(p.plain(w.next())), weight(p.plain(w.next())), bias(x), out(x), has_bias(false),
        s((set_ends(w, p), w)), o(w.dim()), groups(w.dim()) {
    require(s.c % groups == 0 && o % groups == 0, "groups do not divide channels");
    require((__int128)s.n * s.c * s.h * s.w == x.count &&
                (__int128)o * (s.c / groups) * s.kh * s.kw == weight.count &&
                (__int128)s.n * o * s.ho * s.wo == out.count && (!has_bias || bias.count == o),
            "convolution sizes differ");
  }
  void set_ends(Words& w, const Plan& p) {
    const int64_t b = w.next();
    has_bias = b >= 0;
    if (has_bias) bias = p.plain(b);
    out = p.target(w.next());
  }
  void run(Execution& e) const override {
    const int32_t *a = e.values(x), *k = e.values(weight);
    const int32_t* b = has_bias ? e.values(bias) : nullptr;
    int32_t* d = e.values(out);
    const int64_t cg = s.c / groups, og = o / groups;
    e.split(s.n * o * s.ho, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = i % s.ho, ch = i / s.ho % o, n = i / s.ho / o;
        int32_t* row = d + i * s.wo;
        std::fill(row, row + s.wo, b ? b[ch] : 0);
        for (int64_t c = 0; c < cg; ++c) {
          const int32_t* plane = a + (n * s.c + ch / og * cg + c) * s.h * s.w;
          for (int64_t r = 0; r < s.kh; ++r) {
            const int64_t iy = y * s.sh + r * s.dh - s.ph;
            if (iy < 0 || iy >= s.h) continue;
            for (int64_t t = 0; t < s.kw; ++t) {
              const uint32_t tap = (uint32_t)k[((ch * cg + c) * s.kh + r) * s.kw + t];
              if (!tap) continue;
              // columns x with 0 <= x * sw + shift < w
              const int64_t shift = t * s.dw - s.pw;
              const int64_t first = shift >= 0 ? 0 : (-shift + s.sw - 1) / s.sw;
              const int64_t past =
                  shift >= s.w ? 0 : std::min(s.wo, (s.w - shift + s.sw - 1) / s.sw);
              const int32_t* in = plane + iy * s.w + shift;
              for (int64_t x = first; x < past; ++x)
                row[x] = (int32_t)((uint32_t)row[x] + (uint32_t)in[x * s.sw] * tap);
            }
          }
        }
      }
    });
  }
};

struct MaxPool : Step {
  Tensor x, out;
  Window s;
  MaxPool(Words& w, const Plan& p) : x(p.plain(w.next())), out(p.target(w.next())), s(w) {
    require((__int128)s.n * s.c * s.h * s.w == x.count &&
                (__int128)s.n * s.c * s.ho * s.wo == out.count,
            "pooling sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t* a = e.values(x);
    int32_t* d = e.values(out);
    e.split(s.n * s.c * s.ho, std::max<int64_t>(1, kGrain / (s.wo * s.kh * s.kw)),
            [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const int64_t top = i % s.ho * s.sh - s.ph;
                const int32_t* plane = a + i / s.ho * s.h * s.w;
                for (int64_t q = 0; q < s.wo; ++q) {
                  const int64_t left = q * s.sw - s.pw;
                  int32_t best = INT32_MIN;
                  for (int64_t y = std::max<int64_t>(0, top); y < std::min(s.h, top + s.kh); ++y)
                    for (int64_t z = std::max<int64_t>(0, left); z < std::min(s.w, left + s.kw);
                         ++z)
                      best = std::max(best, plane[y * s.w + z]);
                  d[i * s.wo + q] = best;
                }
              }
            });
  }
};

struct ValidCounts : Step {
  Tensor x, counts, rows;
  int64_t b, n, k;
  int32_t threshold;
  ValidCounts(Words& w, const Plan& p)
      : x(p.plain(w.next())), counts(p.target(w.next())), rows(p.target(w.next())), b(w.dim()),
        n(w.dim()), k(w.next(2, 31)), threshold(w.next32()) {
    require((__int128)b * n * k == x.count && rows.count == x.count && counts.count == b,
            "get_valid_counts sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    int32_t *c = e.values(counts), *d = e.values(rows);
    for (int64_t i = 0; i < b; ++i) {
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

struct Suppress : Step {
  Tensor x, counts, out, order;  // order: scratch for the sort, allocated with the plan
  int64_t b, n;
  int32_t max_output, iou, force, top_k;
  Suppress(Words& w, const Plan& p)
      : x(p.plain(w.next())), counts(p.plain(w.next())), out(p.target(w.next())),
        order(p.target(w.next())), b(w.dim()), n(w.next(1, INT32_MAX)), max_output(w.next32()),
        iou(w.next32()), force((int32_t)w.next(0, 1)), top_k(w.next32()) {
    require((__int128)b * n * 6 == x.count && out.count == x.count && counts.count == b &&
                order.count >= 2 * n,
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
    for (int64_t i = 0; i < b; ++i) {
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

template <class S>
std::unique_ptr<Step> make(Words& w, const Plan& p) {
  return std::make_unique<S>(w, p);
}

}  // namespace

std::unique_ptr<Step> make_network_step(int64_t opcode, Words& w, const Plan& p) {
  // The order is the one of yolo_cvm.engine.words, from DENSE on.
  static constexpr StepMaker makers[] = {make<Dense>, make<Conv>, make<MaxPool>,
                                         make<ValidCounts>, make<Suppress>};
  require(opcode >= 1 && opcode <= (int64_t)(sizeof makers / sizeof *makers), "unknown step");
  return makers[opcode - 1](w, p);
}

}  // namespace cvm
