/* Rows of BINARY steps with any steps, also negative ones, whatever is done to two elements. */
#include "proof.h"
//@ struct arch/kernels.h BinaryRow
static int32_t f(int32_t x, int32_t y) {
  int32_t any;
  return any;
}
static int64_t a_reach, b_reach, out_reach;
//@ take arch/loops.h zip_row
//@ given zip_row: product(i, n - 1, out_reach) = i * r.out_step
//@ given zip_row: product(i, n - 1, a_reach) = i * r.a_step
//@ given zip_row: product(i, n - 1, b_reach) = i * r.b_step
//@ loop zip_row 1: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= n) __CPROVER_decreases(n - i)
//@ loop zip_row 2: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= n) __CPROVER_decreases(n - i)
//@ loop zip_row 3: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= n) __CPROVER_decreases(n - i)
//@ loop zip_row 4: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= n) __CPROVER_decreases(n - i)

int main(void) {
  const struct Row a = any_row(), b = any_row(), out = any_row();
  BinaryRow r;
  r.a = a.first, r.b = b.first, r.out = out.first;
  a_reach = a.reach, b_reach = b.reach, out_reach = out.reach;
  r.count = any_in(1, MOST_DIM);
  GIVEN(r.a_step != 1 || a_reach == r.count - 1);
  GIVEN(r.b_step != 1 || b_reach == r.count - 1);
  GIVEN(r.out_step != 1 || out_reach == r.count - 1);
  zip_row(r);
  REACHED;
}
