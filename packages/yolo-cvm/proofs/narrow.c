/* Lanes of one pixel to memory: no byte beyond those that exist is written. */
#include "proof.h"
//@ include portable.h
#define T int16_t
//@ take arch/loops.h wrap_add
//@ take arch/portable/kernels.cpp Portable::load Portable::set1 Portable::add Portable::narrow
//@ take arch/tile_ops.h narrow
//@ loop narrow 1: __CPROVER_assigns(l, __CPROVER_object_whole(to))
//@+ __CPROVER_loop_invariant(0 <= l && l <= lanes && l % L == 0) __CPROVER_decreases(lanes - l)
//@ loop narrow 2: __CPROVER_assigns(l, __CPROVER_object_whole(to))
//@+ __CPROVER_loop_invariant(0 <= l && l <= valid) __CPROVER_decreases(valid - l)

int main(void) {
  const int64_t lanes = L * any_in(1, kMaxLanes / L), valid = any_in(1, lanes);
  const int32_t offset = (int32_t)any_in(0, 128);
  narrow(any_values(lanes), (T*)any_bytes(valid * sizeof(T)), lanes, valid, offset);
  REACHED;
}
