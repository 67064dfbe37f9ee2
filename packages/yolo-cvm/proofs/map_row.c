/* Rows of UNARY steps, whatever is done to an element. */
#include "proof.h"
//@ struct arch/kernels.h UnaryRow
static int32_t f(int32_t x) {
  int32_t any;
  return any;
}
//@ take arch/loops.h map_row
//@ loop map_row 1: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= r.count) __CPROVER_decreases(r.count - i)

int main(void) {
  UnaryRow r;
  r.count = any_in(1, MOST_ELEMENTS);
  r.x = any_values(r.count);
  r.out = any_values(r.count);
  map_row(r);
  REACHED;
}
