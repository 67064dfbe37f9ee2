/* Division towards zero; by zero gives zero, and -2^31 / -1 does not trap. */
#include "proof.h"
//@ take arch/loops.h divide

int main(void) {
  int32_t a, b;
  const int32_t q = divide(a, b);
  CLAIM(b != 0 || q == 0);
  CLAIM(b != 1 || q == a);
  CLAIM(a != INT32_MIN || b != -1 || q == INT32_MIN);
  REACHED;
}
