/* Convolution of any kind: one tap times a row of any step. */
#include "proof.h"
static int64_t reach;
//@ take arch/loops.h wrap_add wrap_mul multiply_row
//@ given multiply_row: product(i, count - 1, reach) = i * step
//@ loop multiply_row 1: __CPROVER_assigns(i, __CPROVER_object_whole(into))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)
//@ loop multiply_row 2: __CPROVER_assigns(i, __CPROVER_object_whole(into))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const struct Row x = any_row();
  const int64_t count = any_in(1, MOST_DIM);
  int64_t step;
  int32_t factor;
  reach = x.reach;
  GIVEN(step != 1 || reach == count - 1);
  multiply_row(any_values(count), x.first, step, factor, count);
  REACHED;
}
