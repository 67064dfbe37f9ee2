/* Clamping: what comes out lies between the two ends. */
#include "proof.h"
//@ take arch/loops.h clamp

int main(void) {
  int32_t x, lo, hi;
  const int32_t y = clamp(x, lo, hi);
  CLAIM(lo > hi || (y >= lo && y <= hi));
  CLAIM(x < lo || x > hi || y == x);
  REACHED;
}
