/* Convolutions of images: every tap of every output lies in the image or its border. */
#include "proof.h"
static int64_t shape[4];
typedef struct {
  int64_t dims[6], halo;
} Image;
static Image in;
static int64_t outputs_reach, taps_reach;
static int64_t along_outputs(int64_t last, int64_t stride) {
  CLAIM(last >= 0 && last < MOST_DIM && stride >= 1 && stride <= 4096);
  return outputs_reach = any_in(0, MOST_DIM * 4096);
}
static int64_t along_taps(int64_t last, int64_t dilation) {
  CLAIM(last >= 0 && last < MOST_DIM && dilation >= 1 && dilation <= 4096);
  return taps_reach = any_in(0, MOST_DIM * 4096);
}
//@ take conv.cpp Convolution::check_window
//@ given Convolution_check_window: along_outputs(shape[axis] - 1, stride) = (shape[axis] - 1) * stride
//@ given Convolution_check_window: along_taps(kernel - 1, dilation) = (kernel - 1) * dilation

int main(void) {
  const int axis = (int)any_in(1, 2);
  shape[axis] = any_in(1, MOST_DIM), in.dims[axis] = any_in(1, MOST_DIM);
  in.halo = any_in(0, 1 << 24);
  const int64_t kernel = any_in(1, MOST_DIM), stride = any_in(1, 4096), pad = any_in(0, 4096);
  Convolution_check_window(axis, kernel, stride, pad, any_in(1, 4096));
  /* any output and any tap, by lemmas/product.smt2 of both */
  const int64_t place = any_in(0, outputs_reach) - pad + any_in(0, taps_reach);
  CLAIM(place >= -in.halo && place < in.dims[axis] + in.halo);
  REACHED;
}
