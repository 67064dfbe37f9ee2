/* Reductions by whole rows: sums that wrap. */
#include "proof.h"
//@ take arch/loops.h wrap_add add_rows
//@ loop add_rows 1: __CPROVER_assigns(i, __CPROVER_object_whole(into))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t count = any_in(1, MOST_DIM);
  add_rows(any_values(count), any_values(count), count);
  REACHED;
}
