/* Pooling: the larger of two pixels. */
#include "proof.h"
#define T int16_t
//@ take arch/tile_ops.h max_channels
//@ loop max_channels 1: __CPROVER_assigns(i, __CPROVER_object_whole(d))
//@+ __CPROVER_loop_invariant(0 <= i && i <= count) __CPROVER_decreases(count - i)

int main(void) {
  const int64_t count = any_in(1, MOST_DIM);
  max_channels(any_bytes(count * sizeof(T)), any_bytes(count * sizeof(T)), count);
  REACHED;
}
