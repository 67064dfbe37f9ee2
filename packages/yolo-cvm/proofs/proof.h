/* What all proofs share. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef __int128 Wide;

/* A fact about the inputs that the plan checker or the caller's own proof gives. */
#define GIVEN(fact) __CPROVER_assume(fact)
/* What the proof is of. */
#define CLAIM(fact) __CPROVER_assert(fact, #fact)
/* A fact that is proven here and then used. */
#define STEP(fact) \
  do {             \
    CLAIM(fact);   \
    GIVEN(fact);   \
  } while (0)
/* The last statement of every proof: it must fail, or else nothing was proven of anything. */
#define REACHED __CPROVER_assert(0, "REACHED")

/* A refused plan goes no further. */
#define require(ok, what) ((ok) ? (void)0 : __CPROVER_assume(0))

#define MOST_ELEMENTS ((int64_t)1 << 40) /* of a tensor: read_tensor */
#define MOST_DIM ((int64_t)1 << 30)      /* of a dimension: Words::dim */

static int64_t any_in(int64_t lo, int64_t hi) {
  int64_t v;
  GIVEN(v >= lo && v <= hi);
  return v;
}

/* An array of that many int32, of any values. */
static int32_t* any_values(int64_t count) {
  int32_t* p = malloc((size_t)count * 4);
  GIVEN(p != NULL);
  return p;
}

static uint8_t* any_bytes(int64_t count) {
  uint8_t* p = malloc((size_t)count);
  GIVEN(p != NULL);
  return p;
}

/* lemmas/product.smt2: for 0 <= i <= most, i * step lies between 0 and reach = most * step. */
static int64_t product(int64_t i, int64_t most, int64_t reach) {
  CLAIM(i >= 0 && i <= most);
  return reach < 0 ? any_in(reach, 0) : any_in(0, reach);
}
static Wide wide_product(Wide i, Wide most, Wide reach) {
  CLAIM(i >= 0 && i <= most);
  Wide v;
  GIVEN(reach < 0 ? v >= reach && v <= 0 : v >= 0 && v <= reach);
  return v;
}

/* A row of a plain step: `count` values, neighbours `step` elements apart, of which check_reach has
   shown that the first and the last, `reach` elements further, lie in their tensor. */
struct Row {
  int32_t* first;
  int64_t reach;
};
static struct Row any_row(void) {
  const int64_t size = any_in(1, MOST_ELEMENTS), at = any_in(0, size - 1);
  struct Row r;
  r.reach = any_in(-at, size - 1 - at);
  r.first = any_values(size) + at;
  return r;
}
