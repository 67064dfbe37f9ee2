/* Largest values of a row of any step. */
#include "proof.h"
static int64_t reach;
//@ take arch/loops.h max_row
//@ given max_row: product(i, count - 1, reach) = i * step
//@ loop max_row 1: __CPROVER_assigns(i, from) __CPROVER_loop_invariant(0 <= i && i <= count)
//@+ __CPROVER_decreases(count - i)
//@ loop max_row 2: __CPROVER_assigns(i, from) __CPROVER_loop_invariant(0 <= i && i <= count)
//@+ __CPROVER_decreases(count - i)

int main(void) {
  const struct Row x = any_row();
  const int64_t count = any_in(1, MOST_DIM);
  int64_t step;
  int32_t from;
  reach = x.reach;
  GIVEN(step != 1 || reach == count - 1);
  max_row(from, x.first, step, count);
  REACHED;
}
