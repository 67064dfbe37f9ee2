/* Reductions by whole rows: maxima. */
#include "proof.h"
//@ take arch/loops.h max_rows
//@ loop max_rows 1: __CPROVER_assigns(i, __CPROVER_object_whole(into))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t count = any_in(1, MOST_DIM);
  max_rows(any_values(count), any_values(count), count);
  REACHED;
}
