// Rows of detection heads, written in whole cache lines.
#include "streams.h"

namespace cvm {

std::unique_ptr<Streams> Streams::of(const Convolution& c) {
  constexpr int64_t kLeast = 1 << 18;  // values: a mebibyte
  constexpr int64_t kShortest = 16;    // values of a row: a cache line
  const TileOp* scatter = c.only_scatter();
  const int64_t channels = c.shape[3], pixels = c.k->max_pixels[c.blocks[0].vectors];
  const int64_t values = c.shape[0] * c.shape[1] * c.shape[2] * channels;
  if (!c.k->stream || !scatter || values < kLeast || channels * pixels > kValues) return nullptr;
  if (c.blocks.size() > kMostBlocks) return nullptr;
  const int64_t row = scatter->view.pixel_stride;
  if (row < kShortest) return nullptr;
  auto made = std::make_unique<Streams>();
  made->k_ = c.k;
  made->row_ = row;
  made->group_ = row * pixels;
  made->offsets_.resize((size_t)c.padded_channels());
  for (int64_t first = 0; first < channels; first += row) {
    if (scatter->channel_run[first] != row) return nullptr;
    for (int64_t i = 0; i < row; ++i)
      made->offsets_[(size_t)(first + i)] = (int32_t)(first / row * made->group_ + i);
    made->firsts_.push_back(scatter->channel_offset[first]);
  }
  return made;
}

void Streams::redirect(TileOp* scatter, Buffer& buffer) const {
  const int64_t row = scatter->view.pixel_stride;
  scatter->view = {(uint8_t*)buffer.values, kInt32, 0, 0, row};
  scatter->channel_offset = offsets_.data();
}

int32_t* Streams::place(Buffer& buffer, const Block& b) const {
  const bool one_row = b.channel / row_ == (b.channel + b.lanes - 1) / row_;
  return one_row && b.valid == b.lanes ? buffer.values + offsets_[(size_t)b.channel] : nullptr;
}

void Streams::write(const TileOp& scatter, const Buffer& buffer, int64_t image, int64_t y,
                    int64_t x, int64_t pixels) const {
  const View& v = scatter.view;
  int32_t* at = (int32_t*)v.base + image * v.image_stride + y * v.row_stride + x * v.pixel_stride;
  for (size_t i = 0; i < firsts_.size(); ++i)
    k_->stream(at + firsts_[i], buffer.values + (int64_t)i * group_, pixels * v.pixel_stride);
}

}  // namespace cvm
