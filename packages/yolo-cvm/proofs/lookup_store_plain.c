/* A byte store through a table, whatever the values are, or the values themselves. */
#include "proof.h"
//@ include portable.h
#define N 2
//@ struct arch/kernels.h Segments Table
//@ take arch/loops.h clamp
//@ take arch/portable/kernels.cpp Portable::store
//@ take arch/loops.h wrap_add
//@ take arch/epilogue.h lookup_store_plain
//@ loop lookup_store_plain 2: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= valid) __CPROVER_decreases(valid - i)
//@ loop lookup_store_plain 3: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= valid) __CPROVER_decreases(valid - i)

int main(void) {
  const int64_t valid = any_in(1, N * L);
  I x[N];
  Table t;
  bool plain;
  x[0] = any_lanes(), x[1] = any_lanes();
  t.count = any_in(1, INT32_MAX); /* table_of */
  t.bytes = any_bytes(t.count + 3);
  lookup_store_plain(any_bytes(valid), x, plain ? NULL : &t, valid);
  REACHED;
}
