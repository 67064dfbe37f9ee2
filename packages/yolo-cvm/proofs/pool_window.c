/* Pooling of images: the first pixel of every window, which is copied, lies in the image. */
#include "proof.h"
static int64_t reach;
static int64_t along(int64_t last) {
  CLAIM(last >= 0 && last < MOST_DIM);
  return reach = any_in(0, MOST_DIM * 4096);
}
//@ lambda image.cpp PoolImage 1 bool inside(int64_t size, int64_t outs, int64_t kernel, int64_t stride, int64_t pad)
//@ given inside: along(outs - 1) = (outs - 1) * stride

int main(void) {
  const int64_t size = any_in(1, MOST_DIM), outs = any_in(1, MOST_DIM), kernel = any_in(1, MOST_DIM);
  const int64_t stride = any_in(1, 4096), pad = any_in(0, 4096);
  GIVEN(inside(size, outs, kernel, stride, pad));
  const int64_t top = any_in(0, reach) - pad; /* of any window, by lemmas/product.smt2 */
  const int64_t first = top > 0 ? top : 0, past = size < top + kernel ? size : top + kernel;
  CLAIM(first < size && first < past);
  REACHED;
}
