/* Whether values fit a bound; the bounds are the engine's own and positive. */
#include "proof.h"
//@ take arch/loops.h within_row
//@ loop within_row 1: __CPROVER_assigns(i, least, most)
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t count = any_in(0, MOST_ELEMENTS);
  const int32_t bound = (int32_t)any_in(0, INT32_MAX);
  within_row(any_values(count + 1), count, bound);
  REACHED;
}
