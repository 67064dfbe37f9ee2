/* cvm_lut and take: any index is brought into the table, of any size. */
#include "proof.h"
//@ take arch/loops.h clamp lookup_row
//@ loop lookup_row 1: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t size = any_in(1, MOST_DIM), count = any_in(1, MOST_ELEMENTS);
  lookup_row(any_values(size), size, any_values(count), count, any_values(count));
  REACHED;
}
