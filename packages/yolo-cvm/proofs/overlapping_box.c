/* Suppression: the kept boxes that a box is compared with. */
#include "proof.h"
//@ struct arch/kernels.h Boxes
static bool shares(int64_t i) {
  bool any;
  return any;
}
static bool checked(int64_t j, int64_t count) {
  CLAIM(j >= 0 && j < count);
  return shares(j);
}
//@ take arch/loops.h overlapping_box
//@ loop overlapping_box 1: __CPROVER_assigns(i) __CPROVER_loop_invariant(from <= i && i <= count + 63)
//@+ __CPROVER_decreases(count + 64 - i)
//@ loop overlapping_box 2: __CPROVER_assigns(j, found)
//@+ __CPROVER_loop_invariant(i <= j && j <= end) __CPROVER_decreases(end - j)
//@ loop overlapping_box 3: __CPROVER_assigns(j)
//@+ __CPROVER_loop_invariant(i <= j && j <= end) __CPROVER_decreases(end - j)
//@ given overlapping_box: checked(j, count) = shares(j)

static int32_t id, x1, y1, x2, y2, any;
//@ lambda arch/loops.h overlapping_box 1 int32_t body(const Boxes b, int64_t i)

int main(void) {
  const int64_t count = any_in(0, INT32_MAX), from = any_in(0, count);
  const int32_t* box = any_values(6);
  Boxes b;
  bool force;
  b.id = any_values(count + 1), b.x1 = any_values(count + 1), b.y1 = any_values(count + 1);
  b.x2 = any_values(count + 1), b.y2 = any_values(count + 1);
  if (count > 0) {
    const int64_t i = any_in(0, count - 1);
    body(b, i);
  }
  const int64_t found = overlapping_box(b, from, count, box, force);
  CLAIM(found >= from && found <= count);
  REACHED;
}
