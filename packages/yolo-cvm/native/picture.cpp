// Resizing of pictures: every row of the source is blended across once, then two of them down.
#include "picture.h"

#include <vector>

#include "plan.h"

namespace cvm {
namespace {

constexpr int32_t kWeights = 2048;  // the sum of two

void check(const Taps& taps, int64_t size) {
  const int32_t* v = taps.values;
  for (int64_t i = 0; i < taps.count; ++i)
    for (int k = 0; k < 2; ++k) {
      const int32_t index = v[k * taps.count + i], weight = v[(k + 2) * taps.count + i];
      require(index >= 0 && index < size, "a tap outside the picture");
      require(weight >= 0 && weight <= kWeights, "weight of a tap");
    }
}

}  // namespace

void resize_picture(const Loops& loops, const Picture& from, const Taps& rows, const Taps& columns,
                    uint8_t* out) {
  check(rows, from.height);
  check(columns, from.width);
  const int32_t* x = columns.values;
  const PixelTaps taps = {x, x + columns.count, x + 2 * columns.count, x + 3 * columns.count};
  const int64_t values = columns.count * 3;
  std::vector<int16_t> blended[2] = {std::vector<int16_t>((size_t)values),
                                     std::vector<int16_t>((size_t)values)};
  int64_t held[2] = {-1, -1};  // which row of the source each is
  // Neighbouring rows take the two buffers in turn.
  const auto across = [&](int64_t row) {
    const int at = row % 2;
    if (held[at] != row) {
      loops.blend_pixels(from.pixels + row * from.width * 3, taps, columns.count,
                         blended[at].data());
      held[at] = row;
    }
    return (const int16_t*)blended[at].data();
  };
  for (int64_t i = 0; i < rows.count; ++i, out += values) {
    const int32_t* y = rows.values + i;
    require(y[rows.count] - y[0] == 0 || y[rows.count] - y[0] == 1, "taps of a row");
    const int16_t* upper = across(y[0]);
    const int16_t* lower = across(y[rows.count]);
    loops.blend_rows(upper, lower, y[2 * rows.count], y[3 * rows.count], values, out);
  }
}

}  // namespace cvm
