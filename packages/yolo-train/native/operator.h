// What an operator is, to those who write one: an entry of the table in operators.cpp.
#pragma once
#include <stdint.h>

#include "kernels.h"

namespace yolo {

constexpr int kMostDims = 8;
// Most inputs and outputs of an operator, its gradient's included.
constexpr int kMostTensors = 64;

struct Shape {
  int dims;
  int64_t extent[kMostDims];

  int64_t size() const {
    int64_t all = 1;
    for (int i = 0; i < dims; ++i) all *= extent[i];
    return all;
  }
};

// What an operator was made with: a text for each key.
struct Attributes {
  const char* const* keys;
  const char* const* values;
  int count;

  // The whole text of a key; null where it is not given.
  const char* text(const char* key) const;
  // A number; NaN where it is not given or none.
  float number(const char* key) const;
  // Whole numbers above 0, with anything but digits between them. Returns how many there are, at
  // most `most`; -1 where there are more, or one is 0 or above 2^31.
  int whole_numbers(const char* key, int64_t* found, int most) const;
};

// One pass. Forward: `in` are the inputs. Backward: the gradients of the outputs, the inputs, the
// outputs; `out` are the gradients of the inputs, each of which is written whole. `shapes` are
// those of `out`.
struct Call {
  const Attributes& attributes;
  float* const* in;
  float* const* out;
  const Shape* shapes;
  const Kernels& kernels;
};

// All functions return null, or what is wrong in one sentence.
struct Operator {
  const char* name;
  // How many inputs and outputs it has with these attributes.
  const char* (*parse)(const Attributes& attributes, int* inputs, int* outputs);
  // Shapes of the outputs, and of those inputs that follow from others.
  const char* (*shapes)(const Attributes& attributes, Shape* in, int inputs, Shape* out,
                        int outputs);
  // Inputs that a forward pass changes.
  const int* changed;
  int changes;
  const char* (*forward)(const Call& call);
  const char* (*backward)(const Call& call);
};

extern const Operator kBatchNormSilu, kPick, kCiou;

}  // namespace yolo
