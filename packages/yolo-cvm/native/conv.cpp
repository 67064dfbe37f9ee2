// What all convolutions share.
#include "conv.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace cvm {
namespace {

// most: registers of a block.
std::vector<Block> blocks_of(int64_t channels, const Kernels& k, int64_t most) {
  std::vector<Block> blocks;
  for (int64_t o = 0; o < channels;) {
    const int64_t left = channels - o;
    const int64_t vectors = left > k.vector_lanes ? most : 1;
    const int64_t lanes = vectors * k.vector_lanes;
    blocks.push_back({o, vectors, lanes, std::min(lanes, left)});
    o += lanes;
  }
  return blocks;
}

}  // namespace

PackedWeights packed_zeros(int64_t bytes) {
  PackedWeights p(static_cast<int8_t*>(::operator new((size_t)bytes, std::align_val_t(64))));
  std::memset(p.get(), 0, (size_t)bytes);
  return p;
}

Convolution::Convolution(Words& w, const Plan& p) : Convolution(ConvImageFields(w, p), w, p) {}

Convolution::Convolution(const ConvImageFields& f, Words& w, const Plan& p)
    : k(p.kernels), in(f.image), weight(f.weight),
      shape{f.batch, f.height, f.width, f.channels}, kh(f.kernel_h), kw(f.kernel_w),
      sh(f.stride_h), sw(f.stride_w), ph(f.pad_h), pw(f.pad_w), dh(f.dilation_h),
      dw(f.dilation_w) {
  require(in.dims[0] == shape[0], "batch sizes differ");
  check_window(1, kh, sh, ph, dh);
  check_window(2, kw, sw, pw, dw);
  prepare(f.groups, f.bias, w, p);
}

Convolution::Convolution(const ConvRowsFields& f, Words& w, const Plan& p)
    : k(p.kernels), in(f.image), weight(f.weight), shape{1, 1, f.count, f.channels}, kh(1), kw(1),
      sh(1), sw(1), ph(0), pw(0), dh(1), dw(1) {
  require(in.dims[0] == 1, "rows of one image");
  prepare(1, f.bias, w, p);
}

void Convolution::prepare(int64_t groups, const Constant& added, Words& w, const Plan& p) {
  const int64_t o = shape[3];
  require(in.dtype == kInt8, "convolution reads byte images");
  require(in.dims[3] % groups == 0 && o % groups == 0, "groups do not divide channels");
  group_inputs = in.dims[3] / groups, group_outputs = o / groups;
  require((__int128)o * group_inputs * kh * kw == weight.count, "weight size differs");
  weight.visit([&](const auto* values) {
    int32_t least = 0, most = 0;
    for (int64_t i = 0; i < weight.count; ++i) {
      least = std::min<int32_t>(least, values[i]);
      most = std::max<int32_t>(most, values[i]);
    }
    require(least >= -127 && most <= 127, "a weight does not fit a byte");
  });
  // A block multiplies the channels of all its groups: few groups, little work in vain.
  const bool narrow = group_outputs < k->max_vectors * k->vector_lanes && grouped();
  blocks = blocks_of(o, *k, narrow ? 1 : k->max_vectors);
  bias.assign((size_t)padded_channels(), 0);
  if (added.data) {
    require(added.count == o, "bias size differs");
    std::copy(added.data, added.data + o, bias.begin());
  }
  code_ = std::make_unique<TileCode>(w, p, shape, padded_channels());
  plan_epilogue();
  if (p.pieces && requantized_) find_pieces(*p.pieces);
}

// Every tap of every output pixel lies in the image or its halo.
void Convolution::check_window(int axis, int64_t kernel, int64_t stride, int64_t pad,
                               int64_t dilation) const {
  const int64_t last = (shape[axis] - 1) * stride + (kernel - 1) * dilation - pad;
  require(pad <= in.halo && last < in.dims[axis] + in.halo, "convolution leaves the halo");
}

bool Convolution::flat() const {
  return code_->flat() && in.row_stride == in.dims[2] * in.pixel_stride;
}

// A leading requantization runs on the accumulators, and byte stores of its result too.
void Convolution::plan_epilogue() {
  const std::vector<TileOp>& ops = code_->ops();
  requantized_ = !ops.empty() && ops[0].kind == kRequant && ops[0].dst == 0 && ops[0].a == 0;
  bool whole = requantized_;  // register 0 still holds the result
  bool lookups = true;
  for (size_t i = requantized_; i < ops.size(); ++i) {
    const TileOp& op = ops[i];
    const bool stores = op.kind == kStore || op.kind == kLookupStore;
    if (whole && stores && op.a == 0 && op.view.dtype == kInt8 && direct_.size() < kSinks) {
      direct_.push_back(i);
      lookups = lookups && op.kind == kLookupStore;
    } else {
      remaining_.push_back(i);
      scatters_ = scatters_ || op.kind == kScatter;
      if (!stores && op.kind != kScatter && op.dst == 0) whole = false;
    }
  }
  if (!requantized_ || direct_.empty() || !lookups) return;
  const Requant& q = ops[0].requant;
  int64_t lowest = q.lo, highest = q.hi;
  if (q.offset) {
    const int32_t* end = q.offset + shape[3];
    lowest += *std::min_element(q.offset, end);
    highest += *std::max_element(q.offset, end);
  }
  int64_t shortest = INT64_MAX;
  for (size_t i : direct_) shortest = std::min(shortest, ops[i].table.count);
  if (lowest >= 0 && highest < shortest) indexed_ = highest < 1 << 15 ? kWordIndex : kLongIndex;
}

// Where tables, or the parts of them that a lane reads, are made of pieces.
void Convolution::find_pieces(PieceBook& book) {
  const std::vector<TileOp>& ops = code_->ops();
  const Requant& q = ops[0].requant;
  if (indexed_ == kNoIndex && !direct_.empty()) return;
  if (q.lo != 0 || q.hi < 0 || q.hi >= 1 << 15) return;
  if (!q.offset) words_ = WordCode::of(ops, remaining_, q.hi, shape[3]);
  std::vector<BlockPieces> all;
  bool any = false;
  for (size_t i : direct_) {
    std::map<int32_t, const BytePieces*> parts;  // by where they begin
    const auto pieces_at = [&](int32_t first) {
      const auto at = parts.find(first);
      if (at != parts.end()) return at->second;
      return parts[first] = book.find(ops[i].table.values + first, q.hi + 1);
    };
    for (const Block& b : blocks) {
      BlockPieces found;
      std::memset(&found, 0, sizeof found);
      found.bits = PieceBook::bits_of(q.hi + 1);
      found.slopes = book.slopes();
      for (int64_t l = 0; l < b.valid; ++l) {
        const BytePieces* pieces = pieces_at(q.offset ? q.offset[b.channel + l] : 0);
        const BytePieces** end = found.of + found.count;
        const BytePieces** at = std::find(found.of + 0, end, pieces);
        if (!pieces || at - found.of == kMaxBytePieces) {
          found.count = 0;
          break;
        }
        if (at == end) found.of[found.count++] = pieces;
        found.lanes[l] = (uint8_t)(at - found.of);
      }
      any = any || found.count;
      all.push_back(found);
    }
  }
  if (!any && !words_) return;
  pieces_ = std::move(all);
  indexed_ = kLaneIndex;
}

const TileOp* Convolution::only_scatter() const {
  const bool only = direct_.empty() && remaining_.size() == 1 && scatters_;
  return only ? &code_->ops()[remaining_[0]] : nullptr;
}

void Convolution::bind(const Execution& e, Epilogue* into) const {
  TileOp bound[kMaxOps];
  code_->bind(e, bound);
  // requantization, direct stores, the rest
  size_t n = 0;
  if (requantized_) into->ops[n++] = bound[0];
  for (size_t i : direct_) into->ops[n++] = bound[i];
  for (size_t i : remaining_) into->ops[n++] = bound[i];
}

Convolution::Pass::Pass(const Convolution& c, const Epilogue& epilogue, const Block& b, Room& room)
    : c_(c), b_(b) {
  std::memset(&t, 0, sizeof t);
  const TileOp* ops = epilogue.ops;
  t.sinks = sinks_;
  t.sink_count = (int64_t)c.direct_.size();
  t.indexed = c.indexed_;
  t.lookup = c.k->lookup;
  t.lookup_words = c.k->lookup_words;
  t.valid = b.valid;
  if (c.requantized_) {
    requant_ = advanced((ops++)->requant, b.channel);
    t.requant = &requant_;
  }
  stores_ = ops;
  const size_t block = (size_t)(&b - c.blocks.data());
  for (int64_t s = 0; s < t.sink_count; ++s, ++ops) {
    const BlockPieces* pieces =
        c.pieces_.empty() ? nullptr : &c.pieces_[(size_t)s * c.blocks.size() + block];
    sinks_[s] = {nullptr, ops->view.pixel_stride,
                 ops->kind == kLookupStore ? &ops->table : nullptr, pieces,
                 t.requant ? requant_.offset : nullptr};
  }
  rest_.ops = ops;
  rest_.op_count = c.words_ ? 0 : (int64_t)c.remaining_.size();
  if (c.words_) {
    words_ = c.words_->sink(ops, b.channel);
    t.words = &words_;
  }
  rest_.lanes = b.lanes;
  rest_.channel = b.channel, rest_.valid = b.valid;
  if (rest_.op_count) keep(room.values, b.lanes);
}

void Convolution::Pass::keep(int32_t* out, int64_t step) {
  t.out = out;
  t.out_step = step;
}

void Convolution::Pass::run(int64_t image, int64_t y, int64_t x, int64_t pixels) {
  for (int64_t s = 0; s < t.sink_count; ++s) {
    const View& v = stores_[s].view;
    sinks_[s].base = v.base + image * v.image_stride + y * v.row_stride + x * v.pixel_stride +
                     b_.channel;
  }
  if (t.words) c_.words_->place(&words_, rest_.ops, image, y, x, b_.channel);
  c_.k->conv[b_.vectors][pixels](t);
  if (!rest_.op_count) return;
  for (int i = 0; i < kTileRegisters; ++i)
    rest_.registers[i] = t.out + (int64_t)i * pixels * b_.lanes;
  rest_.image = image, rest_.y = y, rest_.x = x;
  rest_.pixels = pixels;
  c_.k->tile_code(rest_);
}

}  // namespace cvm
