/* The operations of the portable vector type but products, each against the scalar definition. */
#include "proof.h"
//@ include portable.h
#define T int16_t
//@ take arch/loops.h wrap_add wrap_sub wrap_mul
//@ take arch/portable/kernels.cpp Portable::load Portable::store Portable::set1 Portable::add
//@+ Portable::widen Portable::narrow Portable::sub Portable::gather Portable::mul Portable::min
//@+ Portable::max Portable::sar Portable::bit Portable::store_index

int main(void) {
  const I a = any_lanes(), b = any_lanes();
  const int k = (int)any_in(0, L - 1), by = (int)any_in(0, 31);
  int32_t row[L], table[100];
  int16_t narrow[L];
  uint16_t index[L];
  Portable_store(row, a);
  CLAIM(Portable_load(row).v[k] == a.v[k]);
  CLAIM(Portable_set1(by).v[k] == by);
  CLAIM(Portable_add(a, b).v[k] == wrap_add(a.v[k], b.v[k]));
  CLAIM(Portable_sub(a, b).v[k] == wrap_sub(a.v[k], b.v[k]));
  Portable_mul(a, b);
  CLAIM(Portable_min(a, b).v[k] <= a.v[k] && Portable_min(a, b).v[k] <= b.v[k]);
  CLAIM(Portable_max(a, b).v[k] >= a.v[k] && Portable_max(a, b).v[k] >= b.v[k]);
  CLAIM(Portable_sar(a, by).v[k] == a.v[k] >> by);
  CLAIM(Portable_bit(a, by).v[k] == (a.v[k] >> by & 1));
  Portable_narrow(a, narrow);
  CLAIM(Portable_widen(narrow).v[k] == (int16_t)a.v[k]);
  Portable_store_index(index, a);
  CLAIM(index[k] == (uint16_t)a.v[k]);
  for (int i = 0; i < L; ++i) GIVEN(b.v[i] >= 0 && b.v[i] < 100);
  CLAIM(Portable_gather(table, b).v[k] == table[b.v[k]]);
  REACHED;
}
