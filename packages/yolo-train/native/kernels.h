// The passes of the operators, the same list for every instruction set.
//
// Every set computes the same operations in the same order (16 sums side by side, no fused
// multiply-add), so all of them give the same bits; they differ in speed alone.
#pragma once
#include <stdint.h>

namespace yolo {

// Values of one channel of a tensor [images, channels, pixels]: `images` rows of `pixels` floats,
// `step` floats apart.
struct Channel {
  int64_t images, pixels, step;
};

// What a channel is normalised with: (x - mean) * inverse * gamma + beta.
struct Norm {
  float mean, inverse, gamma, beta;
};

struct Kernels {
  const char* name;
  // Mean of a channel, and its variance divided by the number of values.
  void (*moments)(const Channel& c, const float* x, double* mean, double* variance);
  // y = silu(normalised x)
  void (*forward)(const Channel& c, const Norm& n, const float* x, float* y);
  // dz, the gradient of the normalised value, and the sums over the channel of dz and of
  // dz * (x - mean) * inverse. dz may be dy.
  void (*sums)(const Channel& c, const Norm& n, const float* x, const float* dy, float* dz,
               double* sum, double* product);
  // dz to dx in place, with these two sums divided by the number of values.
  void (*backward)(const Channel& c, const Norm& n, const float* x, float mean_sum,
                   float mean_product, float* dx);
};

// Null where the source was compiled for another machine.
const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

// The best set of this machine, or the named one; null when it cannot run `name`.
const Kernels* select_kernels(const char* name);

}  // namespace yolo
