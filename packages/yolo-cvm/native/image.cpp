// Image steps but convolutions (conv.cpp): pointwise tile code, pooling, borders, copies.
#include <algorithm>
#include <cstring>

#include "tile_code.h"

namespace cvm {
namespace {

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

struct PointwiseStep : WholeStep {
  static constexpr int64_t kTileSize = 8 * kMaxLanes;  // values of a register
  int64_t shape[4], lanes, pixels;  // lanes and pixels of a tile
  std::unique_ptr<TileCode> code;
  const Kernels* k;
  PointwiseStep(Words& w, const Plan& p) : PointwiseStep(PointwiseFields(w, p), w, p) {}
  PointwiseStep(const PointwiseFields& f, Words& w, const Plan& p)
      : shape{f.batch, f.height, f.width, f.channels},
        lanes(std::min<int64_t>(kMaxLanes, round_up(f.channels, p.kernels->vector_lanes))),
        pixels(kTileSize / lanes),
        code(std::make_unique<TileCode>(w, p, shape, round_up(f.channels, lanes))), k(p.kernels) {}
  void run(Execution& e) const override {
    TileOp ops[kMaxOps];
    code->bind(e, ops);
    const bool flat = code->flat();
    const int64_t rows = flat ? shape[0] : shape[0] * shape[1];
    const int64_t width = flat ? shape[1] * shape[2] : shape[2];
    const int64_t tiles = (width + pixels - 1) / pixels;
    e.split(rows * tiles, std::max<int64_t>(1, 4096 / (pixels * shape[3])),
            [&](int64_t begin, int64_t end) {
              alignas(64) int32_t buffer[kTileRegisters * kTileSize];
              for (int64_t i = begin; i < end; ++i)
                for (int64_t c = 0; c < shape[3]; c += lanes) {
                  Tile t;
                  t.x = i % tiles * pixels;
                  t.pixels = std::min(pixels, width - t.x);
                  for (int r = 0; r < kTileRegisters; ++r)
                    t.registers[r] = buffer + r * t.pixels * lanes;
                  t.ops = ops;
                  t.op_count = (int64_t)code->size();
                  const int64_t row = i / tiles;
                  t.image = flat ? row : row / shape[1];
                  t.y = flat ? 0 : row % shape[1];
                  t.lanes = lanes;
                  t.channel = c;
                  t.valid = std::min(lanes, shape[3] - c);
                  k->tile_code(t);
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
struct HaloStep : WholeStep {
  Tensor t;
  std::vector<uint8_t> codes;  // of one pixel
  HaloStep(Words& w, const Plan& p) : HaloStep(HaloFields(w, p), p) {}
  HaloStep(const HaloFields& f, const Plan& p) : t(f.out) {
    const Constant& c = f.codes;
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
struct ToImage : WholeStep, ToImageFields {
  static constexpr int64_t kLineValues = 16;
  const Kernels* k;
  ToImage(Words& w, const Plan& p) : ToImageFields(w, p), k(p.kernels) {
    require(out.dtype == kInt8 && x.count == out.count, "byte image of equal size expected");
  }
  // A large input comes from memory that no cache holds, so it is read once for both.
  bool checks_input(const Plan& p) const override {
    return x.storage == Storage::kInput && x.count == p.input_count;
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    uint8_t* d = e.address(out);
    const bool checks = checks_input(e.plan);
    const int64_t c = out.dims[3], h = out.dims[1], w = out.dims[2];
    e.split(out.dims[0] * h, std::max<int64_t>(1, 16384 / (w * c)), [&](int64_t b, int64_t end) {
      for (int64_t i = b; i < end; ++i) {
        const int32_t* row = s + (i / h * c * h + i % h) * w;
        // Rows are too short for a processor to see where the next one will be read.
        for (int64_t plane = 0; i + 1 < end && plane < c; ++plane)
          for (int64_t x = 0; x < w; x += kLineValues)
            __builtin_prefetch(row + (plane * h + 1) * w + x);
        for (int64_t plane = 0; checks && plane < c; ++plane)
          if (!k->loops.within(row + plane * h * w, w, e.bound)) e.inside.store(false);
        k->interleave(pixel(d, out, i / h, i % h, 0), out.pixel_stride, row, h * w, c, w);
      }
    });
  }
};

// Copies a row of pixels, each repeated `scale` times; steps in bytes.
template <int64_t kBytes>
void copy_row(uint8_t* to, int64_t to_step, const uint8_t* from, int64_t from_step, int64_t pixels,
              int64_t scale, int64_t bytes) {
  const size_t each = (size_t)(kBytes ? kBytes : bytes);
  for (int64_t x = 0; x < pixels; ++x, from += from_step)
    for (int64_t q = 0; q < scale; ++q, to += to_step) std::memcpy(to, from, each);
}

// Copies pixels, each repeated scale x scale times: upsampling, and concatenation when scale is 1.
struct CopyImage : WholeStep, CopyImageFields {
  CopyImage(Words& w, const Plan& p) : CopyImageFields(w, p) {
    require(x.dtype == out.dtype && x.dims[0] == out.dims[0] && x.dims[3] == out.dims[3] &&
                x.dims[1] * scale == out.dims[1] && x.dims[2] * scale == out.dims[2],
            "image copy sizes differ");
  }
  void run(Execution& e) const override {
    uint8_t *s = e.address(x), *d = e.address(out);
    const int64_t size = bytes_of(x), bytes = x.dims[3] * size, h = x.dims[1], w = x.dims[2];
    // Pixels of common sizes are moved in registers.
    const auto row = bytes == 16   ? copy_row<16>
                     : bytes == 32 ? copy_row<32>
                     : bytes == 64 ? copy_row<64>
                                   : copy_row<0>;
    e.split(x.dims[0] * h, std::max<int64_t>(1, 32768 / (w * bytes)),
            [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i)
                for (int64_t r = 0; r < scale; ++r)
                  row(pixel(d, out, i / h, i % h * scale + r, 0), out.pixel_stride * size,
                      pixel(s, x, i / h, i % h, 0), x.pixel_stride * size, w, scale, bytes);
            });
  }
};

// Maximum over windows; pixels outside the image never win.
struct PoolImage : WholeStep, PoolImageFields {
  const Kernels* k;
  PoolImage(Words& w, const Plan& p) : PoolImageFields(w, p), k(p.kernels) {
    require(x.dtype == out.dtype && x.dims[0] == out.dims[0] && x.dims[3] == out.dims[3],
            "pooling takes images of one type and equal channels");
    const auto inside = [](int64_t size, int64_t outs, int64_t kernel, int64_t stride,
                           int64_t pad) {
      return kernel > pad && (outs - 1) * stride - pad < size;
    };
    require(inside(x.dims[1], out.dims[1], kernel_h, stride_h, pad_h) &&
                inside(x.dims[2], out.dims[2], kernel_w, stride_w, pad_w),
            "a pooling window lies outside the image");
  }
  // Whether a row's pixels lie side by side, so that rows are joined before neighbours are.
  bool dense() const { return x.pixel_stride == x.dims[3]; }
  int64_t row_bytes() const { return x.dims[2] * x.dims[3] * bytes_of(x); }
  Scratch scratch() const override { return {0, dense() ? row_bytes() : 0}; }
  void run(Execution& e) const override {
    const int64_t ho = out.dims[1], rows = out.dims[0] * ho, pieces = std::min<int64_t>(rows, 64);
    e.pool.run_on(pieces, [&](int64_t piece, int thread) {
      for (int64_t i = rows * piece / pieces; i < rows * (piece + 1) / pieces; ++i) {
        const int64_t top = i % ho * stride_h - pad_h;
        const int64_t y0 = std::max<int64_t>(0, top), y1 = std::min(x.dims[1], top + kernel_h);
        if (dense()) {
          by_rows(e, i / ho, i % ho, y0, y1, e.own(thread));
        } else {
          by_pixels(e, i / ho, i % ho, y0, y1);
        }
      }
    });
  }
  // Row `row` of image n from rows [y0, y1): those joined in `largest`, then its windows.
  void by_rows(Execution& e, int64_t n, int64_t row, int64_t y0, int64_t y1,
               uint8_t* largest) const {
    uint8_t* s = e.address(x);
    const int64_t c = x.dims[3], w = x.dims[2], each = c * bytes_of(x);
    const uint8_t* from = pixel(s, x, n, y0, 0);
    if (y1 - y0 > 1) {
      std::memcpy(largest, from, (size_t)row_bytes());
      for (int64_t y = y0 + 1; y < y1; ++y) k->max_pixel(x.dtype, largest, pixel(s, x, n, y, 0), w * c);
      from = largest;
    }
    for (int64_t q = 0; q < out.dims[2];) {
      const int64_t left = q * stride_w - pad_w, x0 = std::max<int64_t>(0, left);
      const int64_t taps = std::min(w, left + kernel_w) - x0;
      // Windows that no border cuts are done together.
      const int64_t whole = left < 0 || taps < kernel_w ? 0 : (w - kernel_w - left) / stride_w + 1;
      const int64_t some = std::max<int64_t>(1, std::min(whole, out.dims[2] - q));
      k->pool_pixels(x.dtype, {from + x0 * each, pixel(e.address(out), out, n, row, q), c, some,
                               taps, stride_w, out.pixel_stride});
      q += some;
    }
  }
  void by_pixels(Execution& e, int64_t n, int64_t row, int64_t y0, int64_t y1) const {
    uint8_t *s = e.address(x), *d = e.address(out);
    const int64_t c = x.dims[3], w = x.dims[2];
    for (int64_t q = 0; q < out.dims[2]; ++q) {
      uint8_t* to = pixel(d, out, n, row, q);
      const int64_t left = q * stride_w - pad_w;
      const int64_t x0 = std::max<int64_t>(0, left), x1 = std::min(w, left + kernel_w);
      std::memcpy(to, pixel(s, x, n, y0, x0), (size_t)(c * bytes_of(x)));
      for (int64_t y = y0; y < y1; ++y)
        for (int64_t z = x0; z < x1; ++z) k->max_pixel(x.dtype, to, pixel(s, x, n, y, z), c);
    }
  }
};

}  // namespace

CVM_STEP(to_image, ToImage)
CVM_STEP(pointwise, PointwiseStep)
CVM_STEP(pool_image, PoolImage)
CVM_STEP(copy_image, CopyImage)
CVM_STEP(halo, HaloStep)

}  // namespace cvm
