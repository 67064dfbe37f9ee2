#include "../../kernels.h"

#if defined(__AVX512F__)
#define YOLO_REGISTER 64

namespace yolo {
namespace {

#include "../../lanes.h"
#include "../../passes.h"

const Kernels kAll = {"avx512", moments, forward, sums, backward};

}  // namespace

const Kernels* kernels_avx512() { return &kAll; }

}  // namespace yolo
#else

namespace yolo {
const Kernels* kernels_avx512() { return nullptr; }
}  // namespace yolo

#endif
