/* Table entries of one pixel's values, whatever these are. */
#include "proof.h"
//@ include portable.h
//@ struct arch/kernels.h Segments Table
//@ take arch/loops.h clamp
//@ take arch/tile_ops.h lookup_pixel
//@ loop lookup_pixel 1: __CPROVER_assigns(l, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= l && l <= valid) __CPROVER_decreases(valid - l)

int main(void) {
  const int64_t valid = any_in(1, kMaxLanes);
  Table t;
  t.count = any_in(1, INT32_MAX);
  t.bytes = any_bytes(t.count + 3);
  lookup_pixel(t, any_values(valid), any_bytes(valid), valid);
  REACHED;
}
