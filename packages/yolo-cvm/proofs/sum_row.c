/* Sums of a row of any step: reductions, int32 that wraps. */
#include "proof.h"
static int64_t reach;
//@ take arch/loops.h sum_row
//@ given sum_row: product(i, count - 1, reach) = i * step
//@ loop sum_row 1: __CPROVER_assigns(i, sum) __CPROVER_loop_invariant(0 <= i && i <= count)
//@+ __CPROVER_decreases(count - i)
//@ loop sum_row 2: __CPROVER_assigns(i, sum) __CPROVER_loop_invariant(0 <= i && i <= count)
//@+ __CPROVER_decreases(count - i)

int main(void) {
  const struct Row x = any_row();
  const int64_t count = any_in(1, MOST_DIM);
  int64_t step;
  int32_t from;
  reach = x.reach;
  GIVEN(step != 1 || reach == count - 1);
  sum_row(from, x.first, step, count);
  REACHED;
}
