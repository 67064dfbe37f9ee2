/* Suppression: the overlap of any two boxes of int32; areas wrap in 64 bits, nothing traps. */
#include "proof.h"
static const int32_t *p, *q;
//@ lambda suppress.cpp percent_overlap 1 uint64_t side(const int32_t* r, int lo, int hi)
//@ lambda suppress.cpp percent_overlap 2 uint64_t area(const int32_t* r)
//@ lambda suppress.cpp percent_overlap 3 uint64_t overlap(int lo, int hi)
//@ take suppress.cpp percent_overlap

int main(void) {
  int32_t one[6], other[6];
  p = one, q = other;
  percent_overlap(one, other);
  REACHED;
}
