/* Convolution of any kind: some taps of outputs that lie side by side. */
#include "proof.h"
//@ constant arch/kernels.h kTapLanes
//@ take arch/loops.h wrap_add multiply_lanes
//@ loop multiply_lanes 1: __CPROVER_assigns(k, __CPROVER_object_whole(sums))
//@+ __CPROVER_loop_invariant(0 <= k && k <= taps) __CPROVER_decreases(taps - k)
//@ loop multiply_lanes 2: __CPROVER_assigns(i, __CPROVER_object_whole(sums))
//@+ __CPROVER_loop_invariant(0 <= i && i <= kTapLanes) __CPROVER_decreases(kTapLanes - i)
//@ loop multiply_lanes 3: __CPROVER_assigns(i, __CPROVER_object_whole(into))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t taps = any_in(1, MOST_DIM), count = any_in(1, kTapLanes);
  multiply_lanes(any_values(count), any_values(taps * kTapLanes), any_values(taps), taps, count);
  REACHED;
}
