// Loops over rows of int32 values: what plain steps do innermost. Included by every
// arch/<isa>/kernels.cpp, so that the compiler writes them in the instructions of that set.
//
// All names live in an anonymous namespace, so no two instruction sets share a symbol.
#pragma once
#include <stdint.h>

#include "kernels.h"
#include "moves.h"

namespace cvm {
namespace {

// Scalar arithmetic of the machine: int32 that wraps, shifts that are always defined.
inline int32_t wrap_add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
inline int32_t wrap_sub(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
inline int32_t wrap_mul(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }
inline int32_t wrap_neg(int32_t a) { return (int32_t)(0u - (uint32_t)a); }
inline int32_t clamp(int32_t x, int32_t lo, int32_t hi) { return x < lo ? lo : (x > hi ? hi : x); }

// Bits of the magnitude, at least one.
inline int32_t precision_of(int32_t x) {
  const uint32_t m = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
  return m ? 32 - __builtin_clz(m) : 1;
}

// Quotient towards zero; by zero gives zero.
inline int32_t divide(int32_t a, int32_t b) {
  return b == 0 ? 0 : (int32_t)((int64_t)a / b);
}

template <class F>
inline void map_row(const UnaryRow& r, const F& f) {
  const int32_t* x = r.x;
  int32_t* out = r.out;
  for (int64_t i = 0; i < r.count; ++i) out[i] = f(x[i]);
}

inline void unary_row(UnaryKind kind, const UnaryRow& r) {
  const int32_t lo = r.lo, hi = r.hi, by = r.shift;
  switch (kind) {
    case UnaryKind::kClamp: return map_row(r, [=](int32_t x) { return clamp(x, lo, hi); });
    case UnaryKind::kAbs: return map_row(r, [](int32_t x) { return x < 0 ? wrap_neg(x) : x; });
    case UnaryKind::kNegative: return map_row(r, [](int32_t x) { return wrap_neg(x); });
    case UnaryKind::kPrecision: return map_row(r, [](int32_t x) { return precision_of(x); });
    case UnaryKind::kRightShift:
      // floor(x / 2^by + 1/2); no int32 is as large as half of 2^32 rounded up
      if (by > 31) return map_row(r, [=](int32_t) { return clamp(0, lo, hi); });
      return map_row(r, [=](int32_t x) {
        return clamp((x >> by) + ((x >> (by - 1)) & 1), lo, hi);
      });
    case UnaryKind::kLeftShift:
      if (by > 31) return map_row(r, [=](int32_t) { return clamp(0, lo, hi); });
      return map_row(r, [=](int32_t x) { return clamp((int32_t)((uint32_t)x << by), lo, hi); });
  }
}

// f: a lambda, whose type is its own: functions of one type would share one loop that calls them.
template <class F>
inline void zip_row(const BinaryRow& r, const F& f) {
  const int32_t *a = r.a, *b = r.b;
  int32_t* out = r.out;
  const int64_t n = r.count;
  if (r.a_step == 1 && r.b_step == 0 && r.out_step == 1) {
    const int32_t k = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], k);
  } else if (r.a_step == 0 && r.b_step == 1 && r.out_step == 1) {
    const int32_t k = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = f(k, b[i]);
  } else if (r.a_step == 1 && r.b_step == 1 && r.out_step == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * r.out_step] = f(a[i * r.a_step], b[i * r.b_step]);
  }
}

inline void binary_row(BinaryKind kind, const BinaryRow& r) {
  switch (kind) {
    case BinaryKind::kAdd: return zip_row(r, [](int32_t x, int32_t y) { return wrap_add(x, y); });
    case BinaryKind::kSub: return zip_row(r, [](int32_t x, int32_t y) { return wrap_sub(x, y); });
    case BinaryKind::kMul: return zip_row(r, [](int32_t x, int32_t y) { return wrap_mul(x, y); });
    case BinaryKind::kMax: return zip_row(r, [](int32_t x, int32_t y) { return x > y ? x : y; });
    case BinaryKind::kDiv: return zip_row(r, [](int32_t x, int32_t y) { return divide(x, y); });
    case BinaryKind::kGreater:
      return zip_row(r, [](int32_t x, int32_t y) { return (int32_t)(x > y); });
  }
}

// `from` and all values of a row added up, wrapping, or the largest of them.
inline int32_t sum_row(int32_t from, const int32_t* x, int64_t step, int64_t count) {
  uint32_t sum = (uint32_t)from;
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) sum += (uint32_t)x[i];
  } else {
    for (int64_t i = 0; i < count; ++i) sum += (uint32_t)x[i * step];
  }
  return (int32_t)sum;
}
inline int32_t max_row(int32_t from, const int32_t* x, int64_t step, int64_t count) {
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) from = from > x[i] ? from : x[i];
  } else {
    for (int64_t i = 0; i < count; ++i) from = from > x[i * step] ? from : x[i * step];
  }
  return from;
}

// The same for every one of many short rows.
template <int64_t N>
inline void join_rows_of(bool maximum, int32_t least, const int32_t* x, int64_t rows, int64_t n,
                         int32_t* out) {
  const int64_t count = N ? N : n;
  for (int64_t i = 0; i < rows; ++i, x += count) {
    if (maximum) {
      int32_t most = least;
      for (int64_t k = 0; k < count; ++k) most = most > x[k] ? most : x[k];
      out[i] = most;
    } else {
      uint32_t sum = 0;
      for (int64_t k = 0; k < count; ++k) sum += (uint32_t)x[k];
      out[i] = (int32_t)sum;
    }
  }
}
inline void join_rows(bool maximum, int32_t least, const int32_t* x, int64_t rows, int64_t n,
                      int32_t* out) {
  switch (n) {
    case 2: return join_rows_of<2>(maximum, least, x, rows, n, out);
    case 3: return join_rows_of<3>(maximum, least, x, rows, n, out);
    case 4: return join_rows_of<4>(maximum, least, x, rows, n, out);
    case 8: return join_rows_of<8>(maximum, least, x, rows, n, out);
    case 16: return join_rows_of<16>(maximum, least, x, rows, n, out);
    default: return join_rows_of<0>(maximum, least, x, rows, n, out);
  }
}

// into[i] = into[i] + x[i], or the larger of the two.
inline void add_rows(int32_t* into, const int32_t* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] = wrap_add(into[i], x[i]);
}
inline void max_rows(int32_t* into, const int32_t* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] = into[i] > x[i] ? into[i] : x[i];
}

// out[i] = table[index[i] brought into the table].
inline void lookup_row(const int32_t* table, int64_t size, const int32_t* index, int64_t count,
                       int32_t* out) {
  const int32_t last = size > INT32_MAX ? INT32_MAX : (int32_t)(size - 1);
  for (int64_t i = 0; i < count; ++i) out[i] = table[clamp(index[i], 0, last)];
}

// Sum of products, wrapping.
inline int32_t dot_row(int32_t from, const int32_t* x, const int32_t* y, int64_t count) {
  uint32_t sum = (uint32_t)from;
  for (int64_t i = 0; i < count; ++i) sum += (uint32_t)x[i] * (uint32_t)y[i];
  return (int32_t)sum;
}

// Products of R rows with one block of units.
template <int64_t R>
inline void dense_rows(const int32_t* x, int64_t terms, const int8_t* weight, int32_t* sums) {
  uint32_t all[R][kDenseLanes];
  for (int64_t r = 0; r < R; ++r)
    for (int64_t i = 0; i < kDenseLanes; ++i) all[r][i] = (uint32_t)sums[r * kDenseLanes + i];
  for (int64_t k = 0; k < terms; ++k, weight += kDenseLanes)
    for (int64_t r = 0; r < R; ++r) {
      const uint32_t factor = (uint32_t)x[r * terms + k];
      for (int64_t i = 0; i < kDenseLanes; ++i)
        all[r][i] += factor * (uint32_t)(int32_t)weight[i];
    }
  for (int64_t r = 0; r < R; ++r)
    for (int64_t i = 0; i < kDenseLanes; ++i) sums[r * kDenseLanes + i] = (int32_t)all[r][i];
}
inline void dense_block(const int32_t* x, int64_t rows, int64_t terms, const int8_t* weight,
                        int32_t* sums) {
  switch (rows) {
    case 1: return dense_rows<1>(x, terms, weight, sums);
    case 2: return dense_rows<2>(x, terms, weight, sums);
    case 3: return dense_rows<3>(x, terms, weight, sums);
    default: return dense_rows<kDenseRows>(x, terms, weight, sums);
  }
}

// into[i] += the sum over k of x[k][i] * factors[k], wrapping, for `count` of the lanes i.
inline void multiply_lanes(int32_t* into, const int32_t* x, const int32_t* factors, int64_t taps,
                           int64_t count) {
  uint32_t sums[kTapLanes] = {0};
  for (int64_t k = 0; k < taps; ++k) {
    const uint32_t factor = (uint32_t)factors[k];
    for (int64_t i = 0; i < kTapLanes; ++i) sums[i] += (uint32_t)x[k * kTapLanes + i] * factor;
  }
  for (int64_t i = 0; i < count; ++i) into[i] = wrap_add(into[i], (int32_t)sums[i]);
}

// Pixels of three bytes, each from two of a row: (weight[0] * first + weight[1] * second) / 16.
// Weights of 0 to 2048 whose sum is 2048.
inline void blend_pixels(const uint8_t* row, const PixelTaps& taps, int64_t count, int16_t* out) {
  for (int64_t i = 0; i < count; ++i, out += 3) {
    const uint8_t *a = row + taps.first[i] * (int64_t)3, *b = row + taps.second[i] * (int64_t)3;
    const int32_t left = taps.left[i], right = taps.right[i];
    out[0] = (int16_t)((a[0] * left + b[0] * right) >> 4);
    out[1] = (int16_t)((a[1] * left + b[1] * right) >> 4);
    out[2] = (int16_t)((a[2] * left + b[2] * right) >> 4);
  }
}
// Bytes of two such rows.
inline void blend_rows(const int16_t* a, const int16_t* b, int32_t upper, int32_t lower,
                       int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = (uint8_t)((((a[i] * upper) >> 16) + ((b[i] * lower) >> 16) + 2) >> 2);
}

// Whether all values lie in [-bound, bound].
inline bool within_row(const int32_t* x, int64_t count, int32_t bound) {
  int32_t least = 0, most = 0;
  for (int64_t i = 0; i < count; ++i) {
    least = least < x[i] ? least : x[i];
    most = most > x[i] ? most : x[i];
  }
  return least >= -bound && most <= bound;
}

// The first of boxes [from, count) that shares an area with `box` and has its id (any, by force);
// `count` where none does.
inline int64_t overlapping_box(const Boxes& b, int64_t from, int64_t count, const int32_t* box,
                               bool force) {
  const int32_t id = box[0], x1 = box[2], y1 = box[3], x2 = box[4], y2 = box[5], any = force;
  const auto shares = [=](int64_t i) {
    const int32_t left = b.x1[i] > x1 ? b.x1[i] : x1, right = b.x2[i] < x2 ? b.x2[i] : x2;
    const int32_t top = b.y1[i] > y1 ? b.y1[i] : y1, bottom = b.y2[i] < y2 ? b.y2[i] : y2;
    return (int32_t)(right > left) & (int32_t)(bottom > top) & ((int32_t)(b.id[i] == id) | any);
  };
  constexpr int64_t kChunk = 64;
  for (int64_t i = from; i < count; i += kChunk) {
    const int64_t end = count - i < kChunk ? count : i + kChunk;
    int32_t found = 0;
    for (int64_t j = i; j < end; ++j) found |= shares(j);
    if (!found) continue;
    for (int64_t j = i; j < end; ++j)
      if (shares(j)) return j;
  }
  return count;
}

inline void fill_loops(Loops& l) {
  l.unary = unary_row;
  l.binary = binary_row;
  l.sum = sum_row;
  l.max = max_row;
  l.add_rows = add_rows;
  l.max_rows = max_rows;
  l.lookup = lookup_row;
  l.copy_block = copy_block;
  l.choose = choose_row;
  l.pool = pool_row;
  l.join_rows = join_rows;
  l.dense = dense_block;
  l.dot = dot_row;
  l.overlapping = overlapping_box;
  l.within = within_row;
  l.multiply_lanes = multiply_lanes;
  l.blend_pixels = blend_pixels;
  l.blend_rows = blend_rows;
}

}  // namespace
}  // namespace cvm
