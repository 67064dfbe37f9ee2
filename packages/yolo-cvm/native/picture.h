// Resizing of pictures.
#pragma once
#include <cstdint>

#include "arch/kernels.h"

namespace cvm {

// Bytes [height][width][3].
struct Picture {
  const uint8_t* pixels;
  int64_t height, width;
};

// Where `count` pixels of an axis come from: [4][count], two indices and their weights.
struct Taps {
  const int32_t* values;
  int64_t count;
};

// Throws PlanError where a tap lies outside the picture, std::bad_alloc.
void resize_picture(const Loops& loops, const Picture& from, const Taps& rows, const Taps& columns,
                    uint8_t* out);

}  // namespace cvm
