// AVX-512 with VNNI: 64 products per instruction, bytes stored with an offset of 128.
#include "../kernels.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__)
#include "../vector512.h"

namespace cvm {
namespace {

struct Avx512Words : Avx512 {
  static I dot(I acc, A a, W w) { return _mm512_dpwssd_epi32(acc, a, w); }
};

}  // namespace

const Kernels* kernels_avx512vnni() {
  static const Kernels k = make_kernels<Avx512, 24, 14>(
      "avx512vnni", make_winograd<Avx512, Avx512Words, 24, 14>(64));
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_avx512vnni() { return nullptr; }
}  // namespace cvm
#endif
