#include "../../kernels.h"

#if defined(__AVX2__)
#define YOLO_REGISTER 32

namespace yolo {
namespace {

#include "../../lanes.h"
#include "../../passes.h"

const Kernels kAll = {"avx2", moments, forward, sums, backward};

}  // namespace

const Kernels* kernels_avx2() { return &kAll; }

}  // namespace yolo
#else

namespace yolo {
const Kernels* kernels_avx2() { return nullptr; }
}  // namespace yolo

#endif
