// What all convolutions share, and the direct way to compute them.
#include "conv.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "streams.h"

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

// What a block of outputs reads: some channels, in runs that follow each other in memory.
struct Reach {
  int64_t first, channels;       // input channels: all, or those of the groups in the block
  int64_t run_words;             // a run is padded with zero weights to whole words
  std::vector<int64_t> offsets;  // of runs, relative to the pixel under the first tap
  int64_t start;                 // first byte of the block's weights
};

// The tiles of images of `height` rows, each cut into equal pieces as by piece_start; divisions
// take long enough to be seen in small tiles.
struct TileWalk {
  int64_t height, width, tiles;
  int64_t image, y, tile, x;
  int64_t rest;  // x * tiles + rest is width * tile
  TileWalk(int64_t height, int64_t width, int64_t tiles, int64_t first)
      : height(height), width(width), tiles(tiles), image(first / tiles / height),
        y(first / tiles % height), tile(first % tiles), x(piece_start(width, tiles, tile)),
        rest(width * tile % tiles), whole_(width / tiles), more_(width % tiles) {}
  int64_t pixels() const { return whole_ + (rest + more_ >= tiles); }
  void advance() {
    x += pixels();
    rest += more_ - (rest + more_ >= tiles ? tiles : 0);
    if (++tile < tiles) return;
    tile = x = rest = 0;
    if (++y < height) return;
    y = 0, ++image;
  }

 private:
  int64_t whole_, more_;
};

struct DirectStep : Step {
  Convolution c;
  std::vector<Reach> reaches;  // of every block
  int64_t weight_bytes = 0;
  PackedWeights weights;  // [block][run][word][lane][4], see Kernels::pairs
  bool flat;
  std::unique_ptr<Streams> streams;  // null where results go to their places at once

  explicit DirectStep(Convolution&& convolution) : c(std::move(convolution)) {
    for (const Block& b : c.blocks) {
      reaches.push_back(reach_of(b));
      weight_bytes += lane_bytes(reaches.back()) * b.lanes;
    }
    weights = packed_zeros(weight_bytes);
    c.weight.visit([&](const auto* values) {
      for (size_t i = 0; i < reaches.size(); ++i) pack(c.blocks[i], reaches[i], values);
      take_off_offset(values);
    });
    flat = c.kh * c.kw == 1 && c.sh * c.sw == 1 && c.ph + c.pw == 0 && c.flat();
    streams = Streams::of(c);
  }

  static int64_t lane_bytes(const Reach& r) { return (int64_t)r.offsets.size() * r.run_words * 4; }

  // Whether taps that follow each other in memory are one run.
  bool joined(const Reach& r) const {
    return c.dw == 1 && r.channels == c.in.pixel_stride;
  }

  Reach reach_of(const Block& b) const {
    Reach r;
    const int64_t group = b.channel / c.group_outputs;
    const int64_t last = (b.channel + b.valid - 1) / c.group_outputs;
    r.first = group * c.group_inputs;
    r.channels = (last - group + 1) * c.group_inputs;
    const int64_t taps = joined(r) ? c.kw : 1, per_row = c.kw / taps;
    r.run_words = (taps * r.channels + 3) / 4;
    for (int64_t y = 0; y < c.kh; ++y)
      for (int64_t x = 0; x < per_row; ++x)
        r.offsets.push_back((y * c.dh - c.ph) * c.in.row_stride +
                            (x * c.dw - c.pw) * c.in.pixel_stride + r.first);
    r.start = weight_bytes;
    return r;
  }

  // All taps of some channels of all lanes, then of the next: each weight is read once, and what is
  // written meanwhile stays in the cache.
  template <class T>
  void pack(const Block& b, const Reach& r, const T* from) {
    constexpr int64_t kTogether = 16;  // channels
    const int64_t taps = c.kh * c.kw, lane_values = c.group_inputs * taps;
    int8_t* packed = weights.get() + r.start;
    for (int64_t begin = 0; begin < c.group_inputs; begin += kTogether) {
      const int64_t end = std::min(begin + kTogether, c.group_inputs);
      for (int64_t l = 0; l < b.valid; ++l) {
        const int64_t output = b.channel + l;
        const int64_t first = output / c.group_outputs * c.group_inputs - r.first;
        const int64_t places[4] = {place(l, 0), place(l, 1), place(l, 2), place(l, 3)};
        for (int64_t t = 0; t < taps; ++t) {
          const T* values = from + output * lane_values + t;
          const int64_t run = joined(r) ? t / c.kw : t;
          const int64_t start = (joined(r) ? t % c.kw * r.channels : 0) + first;
          int8_t* words = packed + run * r.run_words * b.lanes * 4;
          for (int64_t ch = begin; ch < end; ++ch) {
            const uint64_t at = (uint64_t)(start + ch);
            words[(int64_t)(at / 4) * b.lanes * 4 + places[at % 4]] = (int8_t)values[ch * taps];
          }
        }
      }
    }
  }

  // Where byte i of a lane's word lies among the words of all lanes.
  int64_t place(int64_t lane, int64_t i) const {
    if (!c.k->pairs) return lane * 4 + i;
    const int64_t lanes = c.k->vector_lanes;
    return lane / lanes * lanes * 4 + i / 2 * lanes * 2 + lane % lanes * 2 + i % 2;
  }

  // Bytes are stored with an offset; its share of the sum is taken off beforehand, mod 2^32.
  template <class T>
  void take_off_offset(const T* values) {
    const int64_t taps = c.group_inputs * c.kh * c.kw;
    for (int64_t o = 0; o < c.shape[3]; ++o, values += taps) {
      uint32_t sum = 0;
      for (int64_t j = 0; j < taps; ++j) sum += (uint32_t)values[j];
      c.bias[(size_t)o] = (int32_t)((uint32_t)c.bias[(size_t)o] - sum * (uint32_t)c.k->offset);
    }
  }

  bool advance(Execution& e) const override {
    Convolution::Epilogue epilogue;
    c.bind(e, &epilogue);
    const uint8_t* input = e.address(c.in);
    const int64_t rows = flat ? c.shape[0] : c.shape[0] * c.shape[1];
    const int64_t width = flat ? c.shape[1] * c.shape[2] : c.shape[2];
    const int64_t most = c.k->max_pixels[c.blocks[0].vectors];
    const int64_t tiles = (width + most - 1) / most, items = rows * tiles;
    // Wide layers split their channels, so that each weight is read once; others their pixels.
    const int64_t pixel_bytes = items * most * c.in.dims[3];
    const bool by_channel = weight_bytes > pixel_bytes && c.blocks.size() > 1;
    const int64_t parts = by_channel ? (int64_t)c.blocks.size() : 1;
    const int64_t chunks = by_channel ? std::min<int64_t>(items, 2)
                                      : std::min<int64_t>(items, 16 + pixel_bytes / 65536);
    const auto task = [&](int64_t number) {
      const int64_t chunk = number % chunks, part = number / chunks;
      const int64_t begin = piece_start(items, chunks, chunk);
      const int64_t end = piece_start(items, chunks, chunk + 1);
      const size_t b0 = by_channel ? (size_t)part : 0;
      const size_t b1 = by_channel ? (size_t)part + 1 : c.blocks.size();
      const auto visit = [&](size_t b, const TileWalk& at) {
        const uint8_t* from = input + at.image * c.in.image_stride +
                              at.y * c.sh * c.in.row_stride + at.x * c.sw * c.in.pixel_stride;
        add_up(e, epilogue, from, b, at.image, at.y, at.x, at.pixels());
      };
      const TileWalk first(flat ? 1 : c.shape[1], width, tiles, begin);
      if (streams && !by_channel) {
        Streams::Buffer buffer;
        Convolution::Epilogue local = epilogue;
        TileOp& scatter = local.ops[c.operations() - 1];
        const TileOp there = scatter;
        streams->redirect(&scatter, buffer);
        TileWalk at = first;
        for (int64_t i = begin; i < end; ++i, at.advance()) {
          const uint8_t* from = input + at.image * c.in.image_stride +
                                at.y * c.sh * c.in.row_stride + at.x * c.sw * c.in.pixel_stride;
          for (size_t b = b0; b < b1; ++b) add_up(e, local, from, b, 0, 0, 0, at.pixels());
          streams->write(there, buffer, at.image, at.y, at.x, at.pixels());
        }
        c.k->settle();
      } else if (c.scatters()) {
        TileWalk at = first;
        for (int64_t i = begin; i < end; ++i, at.advance())
          for (size_t b = b0; b < b1; ++b) visit(b, at);
      } else {
        for (size_t b = b0; b < b1; ++b) {
          TileWalk at = first;
          for (int64_t i = begin; i < end; ++i, at.advance()) visit(b, at);
        }
      }
    };
    // Few layers have more than that many products; such a layer is left in between.
    const __int128 products = (__int128)weight_bytes * items * most;
    const int64_t tasks = parts * chunks;
    const int64_t slices = (int64_t)std::min<__int128>(tasks, 1 + (products >> 31));
    int64_t& slice = e.progress.next;
    do {
      const int64_t begun = piece_start(tasks, slices, slice);
      e.pool.run(piece_start(tasks, slices, slice + 1) - begun,
                 [&](int64_t i) { task(begun + i); });
      ++slice;
    } while (slice < slices && !e.late());
    return slice == slices;
  }

  // from: the pixel of the input under the first tap of the first pixel.
  void add_up(const Execution& e, const Convolution::Epilogue& epilogue, const uint8_t* from,
              size_t block, int64_t image, int64_t y, int64_t x, int64_t pixels) const {
    const Block& b = c.blocks[block];
    const Reach& r = reaches[block];
    ConvTile t;
    t.input = from;
    t.step = c.sw * c.in.pixel_stride;
    t.offsets = r.offsets.data();
    t.runs = e.products ? (int64_t)r.offsets.size() : 0;
    t.run_words = r.run_words;
    t.weights = weights.get() + r.start;
    t.start = c.bias.data() + b.channel;
    t.start_step = 0;
    c.tile(epilogue, t, b, image, y, x, pixels);
  }
};

// Row i of the result is the convolution at pixel index[i] - first, where there is one: of what
// is taken from a large result only that is computed.
struct RowsStep : DirectStep {
  Tensor index, out;
  int64_t first, size, count, width;
  RowsStep(const ConvRowsFields& f, Words& w, const Plan& p)
      : DirectStep(Convolution(f, w, p)), index(f.index), out(f.out), first(f.first), size(f.size),
        count(f.count), width(f.channels) {
    require(index.count == count && out.count == count * width, "row sizes differ");
  }
  bool advance(Execution& e) const override {
    Convolution::Epilogue epilogue;
    c.bind(e, &epilogue);
    const uint8_t* input = e.address(c.in);
    const int32_t* wanted = e.values(index);
    int32_t* rows = e.values(out);
    const int64_t pixels = c.in.dims[1] * c.in.dims[2];
    e.split(count, 16, [&](int64_t begin, int64_t end) {
      int64_t before = -1;  // the pixel of the row before
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pixel = std::min<int64_t>(std::max(wanted[i], 0), size - 1) - first;
        if (pixel >= 0 && pixel < pixels && pixel == before) {
          std::memcpy(rows + i * width, rows + (i - 1) * width, (size_t)width * 4);
        } else if (pixel >= 0 && pixel < pixels) {
          const uint8_t* from = input + pixel / c.in.dims[2] * c.in.row_stride +
                                pixel % c.in.dims[2] * c.in.pixel_stride;
          for (size_t b = 0; b < c.blocks.size(); ++b) add_up(e, epilogue, from, b, 0, 0, i, 1);
        }
        before = pixel;
      }
    });
    return true;
  }
};

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

void Convolution::tile(const Epilogue& epilogue, ConvTile& t, const Block& b, int64_t image,
                       int64_t y, int64_t x, int64_t pixels) const {
  alignas(64) int32_t buffer[kTileRegisters * kMaxPixels * 32];
  const TileOp* ops = epilogue.ops;
  ByteSink sinks[kSinks];
  t.out = remaining_.empty() || words_ ? nullptr : buffer;
  t.sinks = sinks;
  t.sink_count = 0;
  t.indexed = indexed_;
  t.lookup = k->lookup;
  t.words = nullptr;
  t.lookup_words = k->lookup_words;
  t.valid = b.valid;
  t.requant = nullptr;
  Requant q;
  if (requantized_) {
    q = (ops++)->requant;
    if (q.mul) q.mul += b.channel;
    if (q.rounding) q.rounding += b.channel;
    if (q.offset) q.offset += b.channel;
    t.requant = &q;
  }
  for (; t.sink_count < (int64_t)direct_.size(); ++ops) {
    const View& v = ops->view;
    const size_t block = (size_t)(&b - blocks.data());
    const BlockPieces* pieces =
        pieces_.empty() ? nullptr : &pieces_[(size_t)t.sink_count * blocks.size() + block];
    sinks[t.sink_count++] = {v.base + image * v.image_stride + y * v.row_stride +
                                 x * v.pixel_stride + b.channel,
                             v.pixel_stride, ops->kind == kLookupStore ? &ops->table : nullptr,
                             pieces, t.requant ? q.offset : nullptr};
  }
  WordSink words;
  if (words_) {
    words = words_->sink(ops, image, y, x, b.channel);
    t.words = &words;
  }
  k->conv[b.vectors][pixels](t);
  if (!t.out) return;
  Tile rest;
  for (int i = 0; i < kTileRegisters; ++i)
    rest.registers[i] = buffer + (int64_t)i * pixels * b.lanes;
  rest.ops = ops;
  rest.op_count = (int64_t)remaining_.size();
  rest.image = image, rest.y = y, rest.x = x;
  rest.pixels = pixels, rest.lanes = b.lanes;
  rest.channel = b.channel, rest.valid = b.valid;
  k->tile_code(rest);
}

std::unique_ptr<Step> make_conv_image(Words& w, const Plan& p) {
  Convolution c(w, p);
  if (std::unique_ptr<Step> step = make_winograd(c)) return step;
  return std::make_unique<DirectStep>(std::move(c));
}

std::unique_ptr<Step> make_conv_rows(Words& w, const Plan& p) {
  const ConvRowsFields fields(w, p);
  return std::make_unique<RowsStep>(fields, w, p);
}

}  // namespace cvm
