/* Requantization of two registers: every shift that requant_of admits is in range. */
#include "proof.h"
//@ include portable.h
#define N 2
//@ struct arch/kernels.h Requant
static Requant q;
static I clip_lo, clip_hi, lo, hi, mul[N], rounding[N], offset[N];
//@ take arch/loops.h wrap_add
//@ take arch/portable/kernels.cpp Portable::set1 Portable::add Portable::mul Portable::min
//@+ Portable::max Portable::sar Portable::bit
//@ take arch/epilogue.h Requantizer::operator()

int main(void) {
  I x[N];
  Requant any;
  q = any;
  x[0] = any_lanes(), x[1] = any_lanes();
  clip_lo = any_lanes(), clip_hi = any_lanes(), hi = any_lanes(), lo = any_lanes();
  for (int n = 0; n < N; ++n)
    mul[n] = any_lanes(), rounding[n] = any_lanes(), offset[n] = any_lanes();
  /* the bounds of the fields and requant_of, which requant_of.c proves */
  GIVEN(q.shift >= 0 && q.shift <= 32);
  GIVEN(!q.carry_free || (q.shift >= 1 && q.shift <= 30));
  Requantizer_call(x);
  REACHED;
}
