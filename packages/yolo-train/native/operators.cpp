// The table of operators, and MXNet's plain C interface for libraries of operators (version 11 of it,
// that of MXNet 1.9.1, see lib_api.h of its wheel). The interface is declared here, so that nothing
// of MXNet is needed for compiling.
//
// What this version of MXNet does not do for such operators, and how it is met:
// - it does not say whether a gradient is to be added instead of written: callers hand gamma and
//   beta through an operator of MXNet's own, and the other gradients have one reader;
// - shapes of inputs that it has copied from oneDNN's layout can point to freed memory: only the
//   shapes of outputs are read;
// - it never frees the list of inputs that an operator changes: the list is a constant.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "operator.h"

#define YOLO_EXPORT extern "C" __attribute__((visibility("default")))

namespace yolo {

const char* Attributes::text(const char* key) const {
  for (int i = 0; i < count; ++i)
    if (!strcmp(keys[i], key)) return values[i];
  return nullptr;
}

float Attributes::number(const char* key) const {
  const char* found = text(key);
  return found ? strtof(found, nullptr) : NAN;
}

int Attributes::whole_numbers(const char* key, int64_t* found, int most) const {
  constexpr int64_t kTooLarge = (int64_t)1 << 31;
  int number = 0;
  for (const char* at = text(key); at && *at;) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    int64_t value = 0;
    for (; *at >= '0' && *at <= '9'; ++at)
      if (value < kTooLarge) value = value * 10 + (*at - '0');
    if (number == most || value < 1 || value >= kTooLarge) return -1;
    found[number++] = value;
  }
  return number;
}

}  // namespace yolo

namespace {

using yolo::Attributes;
using yolo::Kernels;
using yolo::kMostDims;
using yolo::kMostTensors;
using yolo::Operator;
using yolo::Shape;

constexpr int kVersion = 11, kLeastMXNet = 10900, kFirstOther = 20000;
constexpr int kFailed = 0, kDone = 1, kFloat32 = 0;

const Operator* const kOperators[] = {&yolo::kBatchNormSilu, &yolo::kPick, &yolo::kCiou};
constexpr int kCount = sizeof(kOperators) / sizeof(*kOperators);

const Kernels* chosen = nullptr;
const char* message = nullptr;

int fail(const char* why) {
  message = why;
  return kFailed;
}

int answer(const char* wrong) { return wrong ? fail(wrong) : kDone; }

// What MXNet keeps as the address of a function of an operator and hands back: the address of the
// operator, or that of its member `backward`, to tell which is meant.
typedef const void* Marker;

const Operator& operator_of(Marker marker) { return *(const Operator*)marker; }

const Operator* forward_of(Marker marker) {
  for (const Operator* each : kOperators)
    if (marker == each) return each;
  return nullptr;
}

const Operator* backward_of(Marker marker) {
  for (const Operator* each : kOperators)
    if (marker == &each->backward) return each;
  return nullptr;
}

// Whether that many shapes fit; a shape that is not known yet has no dimensions.
bool take(unsigned** extents, const int* dims, int count, Shape* shapes) {
  for (int i = 0; i < count; ++i) {
    shapes[i].dims = dims[i] > 0 ? dims[i] : 0;
    if (dims[i] > kMostDims) return false;
    for (int k = 0; k < shapes[i].dims; ++k) shapes[i].extent[k] = extents[i][k];
  }
  return true;
}

// Shapes in memory that MXNet frees; false without memory for them.
bool give(const Shape* shapes, int count, unsigned*** extents, int** dims) {
  *extents = (unsigned**)calloc(count, sizeof(unsigned*));
  *dims = (int*)calloc(count, sizeof(int));
  if (!*extents || !*dims) return false;
  for (int i = 0; i < count; ++i) {
    unsigned* own = (unsigned*)malloc((shapes[i].dims + 1) * sizeof(unsigned));
    if (!own) return false;
    for (int k = 0; k < shapes[i].dims; ++k) own[k] = (unsigned)shapes[i].extent[k];
    (*extents)[i] = own;
    (*dims)[i] = shapes[i].dims;
  }
  return true;
}

}  // namespace

// Name of the instruction set that works from now on; null where this machine lacks `name`.
YOLO_EXPORT const char* yolo_use(const char* name) {
  const Kernels* found = yolo::select_kernels(name);
  if (found) chosen = found;
  return found ? found->name : nullptr;
}

YOLO_EXPORT int _opVersion() { return kVersion; }

YOLO_EXPORT int initialize(int version) {
  if (!chosen) chosen = yolo::select_kernels(nullptr);
  return version >= kLeastMXNet && version < kFirstOther
             ? kDone
             : fail("yolo-train's operators are for MXNet 1.9");
}

YOLO_EXPORT int _msgSize() { return message ? 1 : 0; }
YOLO_EXPORT void _msgGet(int, const char** text) { *text = message ? message : ""; }

YOLO_EXPORT int _opRegSize() { return kCount; }

YOLO_EXPORT void _opRegGet(int index, const char** name, int* is_subgraph,
                           const char*** forward_devices, Marker** forward, int* forwards,
                           const char*** backward_devices, Marker** backward, int* backwards,
                           const char*** state_devices, Marker** states, int* state_count,
                           Marker* parse, Marker* type, Marker* storage, Marker* shape,
                           Marker* mutate) {
  static const char* cpu[] = {"cpu"};
  static Marker forward_list[kCount], backward_list[kCount];
  const Operator* own = kOperators[index];
  forward_list[index] = own;
  backward_list[index] = &own->backward;
  *name = own->name;
  *is_subgraph = 0;
  *forward_devices = *backward_devices = *state_devices = cpu;
  *forward = forward_list + index;
  *backward = backward_list + index;
  *forwards = *backwards = 1;
  *states = nullptr;
  *state_count = 0;
  *parse = *type = *shape = own;
  *mutate = own->changes ? own : nullptr;
  *storage = nullptr;
}

YOLO_EXPORT void _opCallFree(void* memory) { free(memory); }

YOLO_EXPORT int _opCallParseAttrs(Marker which, const char* const* keys, const char* const* values,
                                  int count, int* inputs, int* outputs) {
  return answer(operator_of(which).parse({keys, values, count}, inputs, outputs));
}

YOLO_EXPORT int _opCallInferShape(Marker which, const char* const* keys, const char* const* values,
                                  int count, unsigned** in, int* in_dims, int inputs,
                                  unsigned*** new_in, int** new_in_dims, unsigned*** out,
                                  int** out_dims, int outputs) {
  const Attributes attributes = {keys, values, count};
  const Operator& own = operator_of(which);
  Shape found_in[kMostTensors], found_out[kMostTensors];
  int known_inputs, known_outputs;
  const char* wrong = own.parse(attributes, &known_inputs, &known_outputs);
  if (wrong) return fail(wrong);
  if (inputs != known_inputs || outputs != known_outputs || !take(in, in_dims, inputs, found_in))
    return fail("an operator of yolo-train was called with other tensors than it has");
  wrong = own.shapes(attributes, found_in, inputs, found_out, outputs);
  if (wrong) return fail(wrong);
  const bool given = give(found_in, inputs, new_in, new_in_dims) &&
                     give(found_out, outputs, out, out_dims);
  return given ? kDone : fail("out of memory");
}

YOLO_EXPORT int _opCallInferType(Marker, const char* const*, const char* const*, int, int* in,
                                 int inputs, int* out, int outputs) {
  for (int i = 0; i < inputs; ++i) {
    if (in[i] > kFloat32) return fail("yolo-train's operators compute in float32");
    in[i] = kFloat32;
  }
  for (int i = 0; i < outputs; ++i) out[i] = kFloat32;
  return kDone;
}

YOLO_EXPORT int _opCallMutateInputs(Marker which, const char* const*, const char* const*, int,
                                    const int** indices, int* count) {
  *indices = operator_of(which).changed;
  *count = operator_of(which).changes;
  return kDone;
}

// The words after `out_dims` and `outdata` that these operators have no use for are not named.
YOLO_EXPORT int _opCallFCompute(Marker which, const char* const* keys, const char* const* values,
                                int count, const int64_t**, int*, void** in, int*, size_t*,
                                const char**, int*, int inputs, const int64_t** out_shapes,
                                int* out_dims, void** out, int*, size_t*, const char**, int*,
                                int outputs, void*, void*, void*, void*, void*, void*, void*, int*,
                                int*, void**, void**, void**, void**, int64_t*, int64_t*, int64_t*,
                                int64_t*, void*, void*) {
  const Operator *forward = forward_of(which), *backward = backward_of(which);
  const Operator* own = forward ? forward : backward;
  if (!own) return fail("an operator was called that yolo-train does not have");
  const Attributes attributes = {keys, values, count};
  int known_inputs, known_outputs;
  const char* wrong = own->parse(attributes, &known_inputs, &known_outputs);
  if (wrong) return fail(wrong);
  const bool right = forward ? inputs == known_inputs && outputs == known_outputs
                             : inputs == known_inputs + 2 * known_outputs &&
                                   outputs == known_inputs;
  if (!right || outputs > kMostTensors)
    return fail("an operator of yolo-train was called with other tensors than it has");
  Shape shapes[kMostTensors];
  for (int i = 0; i < outputs; ++i) {
    if (out_dims[i] < 0 || out_dims[i] > kMostDims) return fail("a tensor has too many dimensions");
    shapes[i].dims = out_dims[i];
    for (int k = 0; k < out_dims[i]; ++k) shapes[i].extent[k] = out_shapes[i][k];
  }
  const yolo::Call call = {attributes, (float* const*)in, (float* const*)out, shapes, *chosen};
  return answer((forward ? own->forward : own->backward)(call));
}

// What the interface asks for besides, and this library does not have.
YOLO_EXPORT int _opCallInferSType() { return kFailed; }
YOLO_EXPORT int _opCallCreateOpState() { return kFailed; }
YOLO_EXPORT void _opCallDestroyOpState() {}
YOLO_EXPORT int _opCallFStatefulCompute() { return kFailed; }
YOLO_EXPORT int _partRegSize() { return 0; }
YOLO_EXPORT int _partRegGetCount() { return 0; }
YOLO_EXPORT void _partRegGet() {}
YOLO_EXPORT int _partCallSupportedOps() { return kFailed; }
YOLO_EXPORT int _partCallCreateSelector() { return kFailed; }
YOLO_EXPORT void _partCallSelect() {}
YOLO_EXPORT void _partCallSelectInput() {}
YOLO_EXPORT void _partCallSelectOutput() {}
YOLO_EXPORT void _partCallFilter() {}
YOLO_EXPORT void _partCallReset() {}
YOLO_EXPORT int _partCallReviewSubgraph() { return kFailed; }
YOLO_EXPORT int _passRegSize() { return 0; }
YOLO_EXPORT void _passRegGet() {}
YOLO_EXPORT int _passCallGraphPass() { return kFailed; }
