// Results of a tile, gathered as the rows that they are in the tensor they belong to.
#pragma once
#include <memory>
#include <vector>

#include "conv.h"

namespace cvm {

// A detection head scatters the channels of a pixel: those of an anchor to one row, and rows of
// neighbouring pixels follow each other. Stored block by block, every cache line is written in
// pieces and read beforehand; gathered, whole lines are written past the caches.
class Streams {
 public:
  static constexpr int64_t kValues = 8192;
  static constexpr size_t kMostBlocks = 32;
  struct alignas(64) Buffer {
    int32_t values[kValues];
  };

  // Null where results form no such rows, or are so few that caches hold them.
  static std::unique_ptr<Streams> of(const Convolution& c);

  // Lets a scattered store of the tile at 0 write to `buffer`.
  void redirect(TileOp* scatter, Buffer& buffer) const;
  // Where the values of a block go there if they are part of one row: from pixel to pixel they are
  // as far apart as rows. Otherwise null.
  int32_t* place(Buffer& buffer, const Block& b) const;
  // From there to where `scatter` would have written.
  void write(const TileOp& scatter, const Buffer& buffer, int64_t image, int64_t y, int64_t x,
             int64_t pixels) const;

 private:
  const Kernels* k_;
  int64_t row_;                   // channels that follow each other
  int64_t group_;                 // values of the buffer that belong together
  std::vector<int32_t> firsts_;   // first place of a group in the tensor, at the first pixel
  std::vector<int32_t> offsets_;  // of every channel in the buffer
};

}  // namespace cvm
