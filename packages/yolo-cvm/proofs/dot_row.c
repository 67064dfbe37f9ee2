/* dense: a sum of products that wraps. */
#include "proof.h"
//@ take arch/loops.h dot_row
//@ loop dot_row 1: __CPROVER_assigns(i, sum) __CPROVER_loop_invariant(0 <= i && i <= count)
//@+ __CPROVER_decreases(count - i)

int main(void) {
  const int64_t count = any_in(1, MOST_DIM);
  int32_t from;
  dot_row(from, any_values(count), any_values(count), count);
  REACHED;
}
