/* Suppression: how many candidates and boxes there may be; negative limits are none. */
#include "proof.h"
static int64_t std_min(int64_t a, int64_t b) { return a < b ? a : b; }
//@ take suppress.cpp limited key_of

int main(void) {
  const int64_t count = any_in(0, INT32_MAX);
  int32_t most, score;
  const int64_t found = limited(count, most);
  CLAIM(found >= 0 && found <= count && (most < 0 || found <= most));
  const int64_t candidate = any_in(0, INT32_MAX);
  CLAIM((uint32_t)key_of(score, candidate) == candidate);
  int32_t lower;
  GIVEN(lower < score);
  CLAIM(key_of(score, candidate) < key_of(lower, any_in(0, INT32_MAX)));
  REACHED;
}
