/* Two rows of a resized picture, whatever they hold, with the weights that resize_picture admits. */
#include "proof.h"
//@ take arch/loops.h blend_rows
//@ loop blend_rows 1: __CPROVER_assigns(i, __CPROVER_object_whole(out))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

static int16_t* any_words(int64_t count) {
  int16_t* p = malloc((size_t)count * 2);
  GIVEN(p != NULL);
  return p;
}

int main(void) {
  const int64_t count = any_in(1, MOST_DIM);
  blend_rows(any_words(count), any_words(count), (int32_t)any_in(0, 2048),
             (int32_t)any_in(0, 2048), count, any_bytes(count));
  REACHED;
}
