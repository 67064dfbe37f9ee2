/* Lanes of one pixel from memory: all of them, or those that exist and zeros. */
#include "proof.h"
//@ include portable.h
#define T int8_t
//@ take arch/loops.h wrap_sub
//@ take arch/portable/kernels.cpp Portable::store Portable::set1 Portable::sub Portable::widen
//@ take arch/tile_ops.h widen
//@ loop widen 1: __CPROVER_assigns(l, __CPROVER_object_whole(to))
//@+ __CPROVER_loop_invariant(0 <= l && l <= lanes && l % L == 0) __CPROVER_decreases(lanes - l)
//@ loop widen 2: __CPROVER_assigns(l, __CPROVER_object_whole(to))
//@+ __CPROVER_loop_invariant(0 <= l && l <= valid) __CPROVER_decreases(valid - l)
//@ loop widen 3: __CPROVER_assigns(l, __CPROVER_object_whole(to))
//@+ __CPROVER_loop_invariant(valid <= l && l <= lanes) __CPROVER_decreases(lanes - l)

int main(void) {
  const int64_t lanes = L * any_in(1, kMaxLanes / L), valid = any_in(1, lanes);
  const int32_t offset = (int32_t)any_in(0, 128);
  widen((const T*)any_bytes(valid * sizeof(T)), any_values(lanes), lanes, valid, offset);
  REACHED;
}
