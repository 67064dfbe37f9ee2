/* Four products of bytes and their sum: |a * w| <= 2^14, so only the last addition may wrap. */
#include "proof.h"
//@ include portable.h
//@ take arch/loops.h wrap_add
//@ take arch/portable/kernels.cpp Portable::weights Portable::broadcast Portable::dot

int main(void) {
  const I acc = any_lanes();
  int8_t weights[4 * L];
  uint8_t pixel[4];
  const A x = Portable_broadcast(pixel);
  const I sum = Portable_dot(acc, x, Portable_weights(weights));
  CLAIM(x.v[0] >= -128 && x.v[0] <= 127);
  REACHED;
}
