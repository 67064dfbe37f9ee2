/* cvm_precision: bits of the magnitude, at least one; __builtin_clz never gets zero. */
#include "proof.h"
//@ take arch/loops.h precision_of

int main(void) {
  int32_t x;
  const int32_t bits = precision_of(x);
  const int64_t magnitude = x < 0 ? -(int64_t)x : x;
  CLAIM(bits >= 1 && bits <= 32);
  CLAIM(magnitude < (int64_t)1 << bits);
  CLAIM(magnitude == 0 || magnitude >= (int64_t)1 << (bits - 1));
  REACHED;
}
