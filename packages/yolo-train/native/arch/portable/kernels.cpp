#include "../../kernels.h"

#define YOLO_REGISTER 16

namespace yolo {
namespace {

#include "../../lanes.h"
#include "../../passes.h"

const Kernels kAll = {"portable", moments, forward, sums, backward};

}  // namespace

const Kernels* kernels_portable() { return &kAll; }

}  // namespace yolo
