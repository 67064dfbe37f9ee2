// Overlap of boxes.
#pragma once
#include <cstdint>

namespace cvm {

// Overlap of two boxes [.., .., x1, y1, x2, y2] in percent of their union (specification 3.3);
// int64 arithmetic that wraps, areas are signed.
inline int64_t percent_overlap(const int32_t* p, const int32_t* q) {
  const auto side = [](const int32_t* r, int lo, int hi) {
    return (uint64_t)((int64_t)r[hi] - r[lo]);
  };
  const auto area = [side](const int32_t* r) { return side(r, 2, 4) * side(r, 3, 5); };
  const auto overlap = [p, q](int lo, int hi) {
    const int64_t a = p[hi] < q[hi] ? p[hi] : q[hi], b = p[lo] > q[lo] ? p[lo] : q[lo];
    return (uint64_t)(a > b ? a - b : 0);
  };
  const uint64_t sum = area(p) + area(q), shared = overlap(2, 4) * overlap(3, 5);
  const bool large = (int64_t)shared > INT64_MAX / 100;
  const int64_t top = (int64_t)(large ? shared : shared * 100);
  const int64_t whole = (int64_t)(sum - shared), bottom = large ? whole / 100 : whole;
  if ((int64_t)sum <= 0 || bottom <= 0) return 0;
  return top / bottom;  // a negative quotient is below every threshold, however it is rounded
}

}  // namespace cvm
