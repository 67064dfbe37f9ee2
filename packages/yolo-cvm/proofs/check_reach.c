/* Strided steps: whatever the index along every axis, the element lies in its tensor. `at` follows
   one element, of any indices. */
#include "proof.h"
#define kMaxAxes 12
//@ struct plan.h Axis
static Axis* axes;
static int64_t axes_size;
static Wide at, elements;
static Wide span_of(int64_t stride, int64_t last) { /* |stride| <= 2^40, last < 2^30 */
  Wide v;
  GIVEN(v >= -((Wide)1 << 70) && v <= (Wide)1 << 70);
  GIVEN(last != 0 || v == 0);
  at += wide_product(any_in(0, last), last, v);
  return v;
}
static void times(Wide* total, int64_t size) {
  CLAIM(*total >= 1 && *total <= (Wide)1 << 40 && size <= MOST_DIM);
  Wide v;
  GIVEN(v >= *total && v <= (Wide)1 << 70);
  *total = v;
}
//@ take plain.cpp check_reach
//@ given check_reach: void check_reach( = void check_reach(const std_vector<Axis>& axes,
//@ given check_reach: span_of(a.stride[j], a.size - 1) = (__int128)a.stride[j] * (a.size - 1)
//@ given check_reach: times(&total, a.size) = total *= a.size
//@ given check_reach: if (span < 0) lo += span; else hi += span = (span < 0 ? lo : hi) += span
//@ loop check_reach 1: __CPROVER_assigns(n_, lo, hi, total, at)
//@+ __CPROVER_loop_invariant(0 <= n_ && n_ <= axes_size && total >= 1 && total <= (Wide)1 << 40)
//@+ __CPROVER_loop_invariant(lo <= at && at <= hi)
//@+ __CPROVER_loop_invariant(lo >= -((Wide)1 << 70) * n_ && hi <= MOST_ELEMENTS + ((Wide)1 << 70) * n_)
//@+ __CPROVER_decreases(axes_size - n_)

int main(void) {
  Axis all[kMaxAxes];
  axes = all;
  axes_size = any_in(0, kMaxAxes); /* read_axes, as all that follows */
  const int j = (int)any_in(0, 2);
  const int64_t start = any_in(0, MOST_ELEMENTS), count = any_in(1, MOST_ELEMENTS);
  at = start;
  for (int i = 0; i < kMaxAxes; ++i) GIVEN(all[i].size >= 1 && all[i].size <= MOST_DIM);
  check_reach(j, start, count);
  CLAIM(at >= 0 && at < count);
  REACHED;
}
