/* What UNARY steps do to one element. The step's checks give a shift of 1 to 32, and shifts above
   31 have a branch of their own. */
#include "proof.h"
//@ take arch/loops.h clamp wrap_neg precision_of
//@ lambda arch/loops.h unary_row 1 int32_t clamped(int32_t x, int32_t lo, int32_t hi)
//@ lambda arch/loops.h unary_row 2 int32_t magnitude(int32_t x)
//@ lambda arch/loops.h unary_row 3 int32_t negative(int32_t x)
//@ lambda arch/loops.h unary_row 4 int32_t precision(int32_t x)
//@ lambda arch/loops.h unary_row 6 int32_t right(int32_t x, int32_t lo, int32_t hi, int32_t by)
//@ lambda arch/loops.h unary_row 8 int32_t left(int32_t x, int32_t lo, int32_t hi, int32_t by)

int main(void) {
  int32_t x, lo, hi;
  const int32_t by = (int32_t)any_in(1, 31);
  clamped(x, lo, hi);
  CLAIM(magnitude(x) >= 0 || x == INT32_MIN);
  negative(x);
  precision(x);
  /* the specification's rounding: floor(x / 2^by + 1/2) */
  CLAIM(right(x, INT32_MIN, INT32_MAX, by) == (int32_t)(((int64_t)x + ((int64_t)1 << (by - 1))) >> by));
  left(x, lo, hi, by);
  REACHED;
}
