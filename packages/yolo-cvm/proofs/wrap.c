/* Arithmetic of the machine: int32 that wraps. */
#include "proof.h"
//@ take arch/loops.h wrap_add wrap_sub wrap_mul wrap_neg

int main(void) {
  int32_t a, b;
  const int64_t sum = (int64_t)a + b, difference = (int64_t)a - b;
  CLAIM((uint32_t)wrap_add(a, b) == (uint32_t)(uint64_t)sum);
  CLAIM((uint32_t)wrap_sub(a, b) == (uint32_t)(uint64_t)difference);
  CLAIM((uint32_t)wrap_neg(a) == (uint32_t)(uint64_t)(-(int64_t)a));
  CLAIM(a != 0 || wrap_mul(a, b) == 0);
  wrap_mul(a, b);
  REACHED;
}
