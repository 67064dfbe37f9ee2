// Image steps: convolutions on bytes with their epilogue, pointwise programs, pooling, copies.
#include <algorithm>
#include <cstring>

#include "program.h"

namespace cvm {
namespace {

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

struct AlignedFree {
  void operator()(int8_t* p) const { ::operator delete(p, std::align_val_t(64)); }
};

// Output channels that one pass of the micro-kernel handles.
struct Block {
  int64_t channel, vectors, lanes, valid, weights;  // weights: byte offset of its packed part
};

std::vector<Block> blocks_of(int64_t channels, const Kernels& k, int64_t run_bytes_per_lane) {
  std::vector<Block> blocks;
  int64_t at = 0;
  for (int64_t o = 0; o < channels;) {
    const int64_t left = channels - o;
    const int64_t vectors = left > k.vector_lanes ? k.max_vectors : 1;
    const int64_t lanes = vectors * k.vector_lanes;
    blocks.push_back({o, vectors, lanes, std::min(lanes, left), at});
    at += lanes * run_bytes_per_lane;
    o += lanes;
  }
  return blocks;
}

// Splits a row into near-equal tiles of at most `most` pixels: first pixel of tile i of n.
int64_t tile_start(int64_t width, int64_t n, int64_t i) { return width * i / n; }

struct ConvStep : Step {
  static constexpr size_t kSinks = 4;
  Tensor in;
  int64_t shape[4];  // output
  int64_t kh, kw, sh, sw, ph, pw, dh, dw;
  std::vector<Block> blocks;
  std::vector<int64_t> offsets;  // of runs, relative to the pixel under the first tap
  int64_t run_words;
  std::unique_ptr<int8_t, AlignedFree> weights;
  std::vector<int32_t> bias;
  std::unique_ptr<Program> program;
  bool requantized = false;       // the first operation runs on the accumulators
  Indexed indexed = kNoIndex;     // how, if `direct` are lookups that cannot miss their tables
  std::vector<size_t> direct;     // byte stores that run on the accumulators too
  std::vector<size_t> remaining;  // operations that run on the tile in the cache
  bool scatters = false;          // one of them writes to a plain tensor
  bool flat = false;
  const Kernels* k;

  ConvStep(Words& w, const Plan& p) : in(p.image(w.next())), k(p.kernels) {
    const Constant &weight = p.constant(w.next());
    const int64_t bias_id = w.next();
    for (int64_t& d : shape) d = w.dim();
    kh = w.dim(), kw = w.dim();
    sh = w.next(1, 4096), sw = w.next(1, 4096);
    ph = w.next(0, 4096), pw = w.next(0, 4096);
    dh = w.next(1, 4096), dw = w.next(1, 4096);
    const int64_t c = in.dims[3], o = shape[3];
    require(in.dtype == kInt8 && in.dims[0] == shape[0], "convolution reads byte images");
    require((__int128)o * c * kh * kw == weight.count, "weight size differs");
    check_window(1, kh, sh, ph, dh);
    check_window(2, kw, sw, pw, dw);
    pack(weight.data, c, o);
    const int64_t padded = blocks.back().channel + blocks.back().lanes;
    bias.assign((size_t)padded, 0);
    if (bias_id >= 0) {
      const Constant& b = p.constant(bias_id);
      require(b.count == o, "bias size differs");
      std::copy(b.data, b.data + o, bias.begin());
    }
    // Bytes are stored with an offset; its share of the sum is taken off beforehand, mod 2^32.
    for (int64_t i = 0; i < o; ++i) {
      uint32_t sum = 0;
      for (int64_t j = 0; j < c * kh * kw; ++j) sum += (uint32_t)weight.data[i * c * kh * kw + j];
      bias[(size_t)i] = (int32_t)((uint32_t)bias[(size_t)i] - sum * (uint32_t)k->offset);
    }
    program = std::make_unique<Program>(w, p, shape, padded);
    plan_epilogue();
    flat = kh * kw == 1 && sh * sw == 1 && ph + pw == 0 && program->flat() &&
           in.row_stride == in.dims[2] * in.pixel_stride;
  }

  // Every tap of every output pixel lies in the image or its halo.
  void check_window(int axis, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) const {
    const int64_t last = (shape[axis] - 1) * stride + (kernel - 1) * dilation - pad;
    require(pad <= in.halo && last < in.dims[axis] + in.halo, "convolution leaves the halo");
  }

  // Taps that follow each other in memory become one run; runs are padded with zero weights.
  void pack(const int32_t* w, int64_t c, int64_t o) {
    const bool joined = dw == 1 && in.pixel_stride == c;
    const int64_t taps = joined ? kw : 1, run_bytes = taps * c;
    run_words = round_up(run_bytes, 4) / 4;
    const int64_t per_row = kw / taps, runs = kh * per_row;
    for (int64_t r = 0; r < kh; ++r)
      for (int64_t s = 0; s < per_row; ++s)
        offsets.push_back((r * dh - ph) * in.row_stride + (s * dw - pw) * in.pixel_stride);
    blocks = blocks_of(o, *k, runs * run_words * 4);
    const Block& end = blocks.back();
    const int64_t bytes = end.weights + end.lanes * runs * run_words * 4;
    weights.reset(static_cast<int8_t*>(::operator new((size_t)bytes, std::align_val_t(64))));
    std::memset(weights.get(), 0, (size_t)bytes);
    for (const Block& b : blocks)
      for (int64_t l = 0; l < b.valid; ++l)
        for (int64_t ch = 0; ch < c; ++ch)
          for (int64_t t = 0; t < kh * kw; ++t) {
            const int32_t v = w[((b.channel + l) * c + ch) * kh * kw + t];
            require(v >= -127 && v <= 127, "a weight does not fit a byte");
            const int64_t run = joined ? t / kw : t, at = joined ? t % kw * c + ch : ch;
            weights.get()[b.weights + ((run * run_words + at / 4) * b.lanes + l) * 4 + at % 4] =
                (int8_t)v;
          }
  }

  // A leading requantization runs on the accumulators, and byte stores of its result too.
  void plan_epilogue() {
    const std::vector<TileOp>& ops = program->ops();
    requantized = !ops.empty() && ops[0].kind == kRequant && ops[0].dst == 0 && ops[0].a == 0;
    bool whole = requantized;  // register 0 still holds the result
    bool lookups = true;
    for (size_t i = requantized; i < ops.size(); ++i) {
      const TileOp& op = ops[i];
      const bool stores = op.kind == kStore || op.kind == kLookupStore;
      if (whole && stores && op.a == 0 && op.view.dtype == kInt8 && direct.size() < kSinks) {
        direct.push_back(i);
        lookups = lookups && op.kind == kLookupStore;
      } else {
        remaining.push_back(i);
        scatters = scatters || op.kind == kScatter;
        if (!stores && op.kind != kScatter && op.dst == 0) whole = false;
      }
    }
    if (!requantized || direct.empty() || !lookups) return;
    const Requant& q = ops[0].requant;
    int64_t lowest = q.lo, highest = q.hi;
    if (q.offset) {
      const int32_t* end = q.offset + shape[3];
      lowest += *std::min_element(q.offset, end);
      highest += *std::max_element(q.offset, end);
    }
    int64_t shortest = INT64_MAX;
    for (size_t i : direct) shortest = std::min(shortest, ops[i].table.count);
    if (lowest >= 0 && highest < shortest) indexed = highest < 1 << 15 ? kWordIndex : kLongIndex;
  }

  void run(Execution& e) const override {
    TileOp bound[kMaxOps], ops[kMaxOps];
    program->bind(e, bound);
    // the order in which a tile uses them: requantization, direct stores, the rest
    size_t n = 0;
    if (requantized) ops[n++] = bound[0];
    for (size_t i : direct) ops[n++] = bound[i];
    for (size_t i : remaining) ops[n++] = bound[i];
    const uint8_t* input = e.address(in);
    const int64_t rows = flat ? shape[0] : shape[0] * shape[1];
    const int64_t width = flat ? shape[1] * shape[2] : shape[2];
    const int64_t most = k->max_pixels[blocks[0].vectors];
    const int64_t tiles = (width + most - 1) / most, items = rows * tiles;
    // Wide layers split their channels, so that each weight is read once; others their pixels.
    const int64_t weight_bytes = blocks.back().weights, pixel_bytes = items * most * in.dims[3];
    const bool by_channel = weight_bytes > pixel_bytes && blocks.size() > 1;
    const int64_t parts = by_channel ? (int64_t)blocks.size() : 1;
    const int64_t chunks = by_channel ? std::min<int64_t>(items, 2)
                                      : std::min<int64_t>(items, 16 + pixel_bytes / 65536);
    e.pool.run(parts * chunks, [&](int64_t task) {
      const int64_t chunk = task % chunks, part = task / chunks;
      const int64_t begin = items * chunk / chunks, end = items * (chunk + 1) / chunks;
      const size_t b0 = by_channel ? (size_t)part : 0;
      const size_t b1 = by_channel ? (size_t)part + 1 : blocks.size();
      const auto visit = [&](size_t b, int64_t i) {
        const int64_t row = i / tiles, t = i % tiles;
        const int64_t x0 = tile_start(width, tiles, t), x1 = tile_start(width, tiles, t + 1);
        tile(ops, input, blocks[b], flat ? row : row / shape[1], flat ? 0 : row % shape[1], x0,
             x1 - x0);
      };
      // Pixel by pixel where results are scattered, so that their cache lines are filled at once.
      if (scatters) {
        for (int64_t i = begin; i < end; ++i)
          for (size_t b = b0; b < b1; ++b) visit(b, i);
      } else {
        for (size_t b = b0; b < b1; ++b)
          for (int64_t i = begin; i < end; ++i) visit(b, i);
      }
    });
  }

  void tile(const TileOp* ops, const uint8_t* input, const Block& b, int64_t image, int64_t y,
            int64_t x, int64_t pixels) const {
    alignas(64) int32_t buffer[kTileRegisters * kMaxPixels * 32];
    ByteSink sinks[kSinks];
    ConvTile t;
    t.input = input + image * in.image_stride + y * sh * in.row_stride + x * sw * in.pixel_stride;
    t.step = sw * in.pixel_stride;
    t.offsets = offsets.data();
    t.runs = (int64_t)offsets.size();
    t.run_words = run_words;
    t.weights = weights.get() + b.weights;
    t.bias = bias.data() + b.channel;
    t.out = remaining.empty() ? nullptr : buffer;
    t.sinks = sinks;
    t.sink_count = 0;
    t.indexed = indexed;
    t.valid = b.valid;
    t.requant = nullptr;
    Requant q;
    if (requantized) {
      q = (ops++)->requant;
      if (q.mul) q.mul += b.channel;
      if (q.rounding) q.rounding += b.channel;
      if (q.offset) q.offset += b.channel;
      t.requant = &q;
    }
    for (; t.sink_count < (int64_t)direct.size(); ++ops) {
      const View& v = ops->view;
      sinks[t.sink_count++] = {v.base + image * v.image_stride + y * v.row_stride +
                                   x * v.pixel_stride + b.channel,
                               v.pixel_stride, ops->kind == kLookupStore ? &ops->table : nullptr};
    }
    k->conv[b.vectors][pixels](t);
    if (remaining.empty()) return;
    Tile rest;
    for (int i = 0; i < kTileRegisters; ++i)
      rest.registers[i] = buffer + (int64_t)i * pixels * b.lanes;
    rest.ops = ops;
    rest.op_count = (int64_t)remaining.size();
    rest.image = image, rest.y = y, rest.x = x;
    rest.pixels = pixels, rest.lanes = b.lanes;
    rest.channel = b.channel, rest.valid = b.valid;
    k->program(rest);
  }
};

struct PointwiseStep : Step {
  int64_t shape[4], lanes;
  std::unique_ptr<Program> program;
  const Kernels* k;
  PointwiseStep(Words& w, const Plan& p) : k(p.kernels) {
    for (int64_t& d : shape) d = w.dim();
    lanes = shape[3] > 32 ? kMaxLanes : 32;
    program = std::make_unique<Program>(w, p, shape, round_up(shape[3], lanes));
  }
  void run(Execution& e) const override {
    constexpr int64_t kPixels = 8;
    TileOp ops[kMaxOps];
    program->bind(e, ops);
    const bool flat = program->flat();
    const int64_t rows = flat ? shape[0] : shape[0] * shape[1];
    const int64_t width = flat ? shape[1] * shape[2] : shape[2];
    const int64_t tiles = (width + kPixels - 1) / kPixels;
    e.split(rows * tiles, std::max<int64_t>(1, 4096 / (kPixels * shape[3])),
            [&](int64_t begin, int64_t end) {
              alignas(64) int32_t buffer[kTileRegisters * kPixels * kMaxLanes];
              for (int64_t i = begin; i < end; ++i)
                for (int64_t c = 0; c < shape[3]; c += lanes) {
                  Tile t;
                  t.x = i % tiles * kPixels;
                  t.pixels = std::min(kPixels, width - t.x);
                  for (int r = 0; r < kTileRegisters; ++r)
                    t.registers[r] = buffer + r * t.pixels * lanes;
                  t.ops = ops;
                  t.op_count = (int64_t)program->size();
                  const int64_t row = i / tiles;
                  t.image = flat ? row : row / shape[1];
                  t.y = flat ? 0 : row % shape[1];
                  t.lanes = lanes;
                  t.channel = c;
                  t.valid = std::min(lanes, shape[3] - c);
                  k->program(t);
                }
            });
  }
};

int64_t bytes_of(const Tensor& t) { return t.dtype == kInt8 ? 1 : t.dtype == kInt16 ? 2 : 4; }

// Address of a pixel.
uint8_t* pixel(uint8_t* base, const Tensor& t, int64_t n, int64_t y, int64_t x) {
  return base + (n * t.image_stride + y * t.row_stride + x * t.pixel_stride) * bytes_of(t);
}

// Writes the border of an image: one code per channel.
struct HaloStep : Step {
  Tensor t;
  std::vector<uint8_t> codes;  // of one pixel
  HaloStep(Words& w, const Plan& p) : t(p.image(w.next())) {
    const Constant& c = p.constant(w.next());
    require(t.dtype == kInt8 && c.count == t.dims[3], "a byte image and a code per channel");
    for (int64_t i = 0; i < c.count; ++i) {
      require(c.data[i] >= -128 && c.data[i] <= 127, "a border code does not fit a byte");
      codes.push_back((uint8_t)(c.data[i] + p.kernels->offset));
    }
  }
  void run(Execution& e) const override {
    uint8_t* base = e.address(t);
    const int64_t h = t.dims[1], w = t.dims[2];
    for (int64_t n = 0; n < t.dims[0]; ++n)
      for (int64_t y = -t.halo; y < h + t.halo; ++y) {
        const bool border = y < 0 || y >= h;
        fill(pixel(base, t, n, y, -t.halo), border ? w + 2 * t.halo : t.halo);
        if (!border) fill(pixel(base, t, n, y, w), t.halo);
      }
  }
  void fill(uint8_t* at, int64_t pixels) const {
    for (int64_t x = 0; x < pixels; ++x)
      std::memcpy(at + x * t.pixel_stride, codes.data(), codes.size());
  }
};

// int32 planes [N, C, H, W] to an image.
struct ToImage : Step {
  Tensor in, out;
  const Kernels* k;
  ToImage(Words& w, const Plan& p) : in(p.plain(w.next())), out(p.image(w.next())), k(p.kernels) {
    require(out.dtype == kInt8 && in.count == out.count, "byte image of equal size expected");
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(in);
    uint8_t* d = e.address(out);
    const int64_t c = out.dims[3], h = out.dims[1], w = out.dims[2];
    e.split(out.dims[0] * h, std::max<int64_t>(1, 16384 / (w * c)), [&](int64_t b, int64_t end) {
      for (int64_t i = b; i < end; ++i)
        k->interleave(pixel(d, out, i / h, i % h, 0), out.pixel_stride,
                      s + (i / h * c * h + i % h) * w, h * w, c, w);
    });
  }
};

// Copies pixels, each repeated scale x scale times: upsampling, and concatenation when scale is 1.
struct CopyImage : Step {
  Tensor in, out;
  int64_t scale;
  CopyImage(Words& w, const Plan& p)
      : in(p.image(w.next())), out(p.image(w.next())), scale(w.next(1, 4096)) {
    require(in.dtype == out.dtype && in.dims[0] == out.dims[0] && in.dims[3] == out.dims[3] &&
                in.dims[1] * scale == out.dims[1] && in.dims[2] * scale == out.dims[2],
            "image copy sizes differ");
  }
  void run(Execution& e) const override {
    const uint8_t* s = e.address(in);
    uint8_t* d = e.address(out);
    const size_t bytes = (size_t)(in.dims[3] * bytes_of(in));
    const int64_t h = in.dims[1], w = in.dims[2];
    e.split(in.dims[0] * h, std::max<int64_t>(1, 32768 / (w * (int64_t)bytes)),
            [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i)
                for (int64_t r = 0; r < scale; ++r)
                  for (int64_t x = 0; x < w; ++x)
                    for (int64_t q = 0; q < scale; ++q)
                      std::memcpy(pixel(d, out, i / h, i % h * scale + r, x * scale + q),
                                  pixel(const_cast<uint8_t*>(s), in, i / h, i % h, x), bytes);
            });
  }
};

// Maximum over windows; pixels outside the image never win.
struct PoolImage : Step {
  Tensor in, out;
  int64_t kh, kw, sh, sw, ph, pw;
  const Kernels* k;
  PoolImage(Words& w, const Plan& p)
      : in(p.image(w.next())), out(p.image(w.next())), kh(w.dim()), kw(w.dim()),
        sh(w.next(1, 4096)), sw(w.next(1, 4096)), ph(w.next(0, 4096)), pw(w.next(0, 4096)),
        k(p.kernels) {
    require(in.dtype == kInt8 && out.dtype == kInt8 && in.dims[0] == out.dims[0] &&
                in.dims[3] == out.dims[3],
            "pooling takes byte images of equal channels");
    const auto inside = [](int64_t size, int64_t outs, int64_t kernel, int64_t stride,
                           int64_t pad) {
      return kernel > pad && (outs - 1) * stride - pad < size;
    };
    require(inside(in.dims[1], out.dims[1], kh, sh, ph) &&
                inside(in.dims[2], out.dims[2], kw, sw, pw),
            "a pooling window lies outside the image");
  }
  void run(Execution& e) const override {
    uint8_t* s = e.address(in);
    uint8_t* d = e.address(out);
    const int64_t c = in.dims[3], h = in.dims[1], w = in.dims[2], ho = out.dims[1];
    e.split(out.dims[0] * ho, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t n = i / ho, top = i % ho * sh - ph;
        const int64_t y0 = std::max<int64_t>(0, top), y1 = std::min(h, top + kh);
        for (int64_t x = 0; x < out.dims[2]; ++x) {
          uint8_t* to = pixel(d, out, n, i % ho, x);
          const int64_t left = x * sw - pw;
          const int64_t x0 = std::max<int64_t>(0, left), x1 = std::min(w, left + kw);
          std::memcpy(to, pixel(s, in, n, y0, x0), (size_t)c);
          for (int64_t y = y0; y < y1; ++y)
            for (int64_t z = x0; z < x1; ++z) k->max_bytes(to, pixel(s, in, n, y, z), c);
        }
      }
    });
  }
};

template <class S>
std::unique_ptr<Step> make(Words& w, const Plan& p) {
  return std::make_unique<S>(w, p);
}

}  // namespace

std::unique_ptr<Step> make_image_step(int64_t opcode, Words& w, const Plan& p) {
  // The order is the one of yolo_cvm.engine.words.
  static constexpr StepMaker makers[] = {make<ToImage>,   make<ConvStep>,  make<PointwiseStep>,
                                         make<PoolImage>, make<CopyImage>, make<HaloStep>};
  require(opcode >= 20 && opcode - 20 < (int64_t)(sizeof makers / sizeof *makers), "unknown step");
  return makers[opcode - 20](w, p);
}

}  // namespace cvm
