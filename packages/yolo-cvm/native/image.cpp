// Image steps but convolutions (conv.cpp): pointwise programs, pooling, borders, copies.
#include <algorithm>
#include <cstring>

#include "program.h"

namespace cvm {
namespace {

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

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
  static constexpr StepMaker makers[] = {make<ToImage>,   make_convolution, make<PointwiseStep>,
                                         make<PoolImage>, make<CopyImage>,  make<HaloStep>};
  require(opcode >= 20 && opcode - 20 < (int64_t)(sizeof makers / sizeof *makers), "unknown step");
  return makers[opcode - 20](w, p);
}

}  // namespace cvm
