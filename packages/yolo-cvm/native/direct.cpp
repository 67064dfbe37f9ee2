// The direct way to compute a convolution.
#include <algorithm>
#include <cstring>
#include <optional>

#include "streams.h"

namespace cvm {
namespace {

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
      const TileWalk first(flat ? 1 : c.shape[1], width, tiles, begin);
      Convolution::Room room;
      if (streams && !by_channel) {
        gather(e, epilogue, input, first, end - begin);
      } else if (c.scatters()) {
        TileWalk at = first;
        for (int64_t i = begin; i < end; ++i, at.advance())
          for (size_t b = b0; b < b1; ++b) {
            Convolution::Pass pass(c, epilogue, c.blocks[b], room);
            prepare(e, b, pass.t);
            pass.t.input = input + pixel(at);
            pass.run(at.image, at.y, at.x, at.pixels());
          }
      } else {
        for (size_t b = b0; b < b1; ++b) {
          Convolution::Pass pass(c, epilogue, c.blocks[b], room);
          prepare(e, b, pass.t);
          TileWalk at = first;
          for (int64_t i = begin; i < end; ++i, at.advance()) {
            pass.t.input = input + pixel(at);
            pass.run(at.image, at.y, at.x, at.pixels());
          }
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

  // Where the pixel of the input under the first tap of a tile's first pixel lies.
  int64_t pixel(const TileWalk& at) const {
    return at.image * c.in.image_stride + at.y * c.sh * c.in.row_stride +
           at.x * c.sw * c.in.pixel_stride;
  }

  // What a block adds up, but for the input.
  void prepare(const Execution& e, size_t block, ConvTile& t) const {
    const Reach& r = reaches[block];
    t.step = c.sw * c.in.pixel_stride;
    t.offsets = r.offsets.data();
    t.runs = e.products ? (int64_t)r.offsets.size() : 0;
    t.run_words = r.run_words;
    t.weights = weights.get() + r.start;
    t.start = c.bias.data() + c.blocks[block].channel;
    t.start_step = 0;
  }

  // `count` tiles by way of a buffer.
  void gather(const Execution& e, const Convolution::Epilogue& epilogue, const uint8_t* input,
              TileWalk at, int64_t count) const {
    Convolution::Room room;
    Streams::Buffer buffer;
    Convolution::Epilogue local = epilogue;
    TileOp& scatter = local.ops[c.operations() - 1];
    const TileOp there = scatter;
    streams->redirect(&scatter, buffer);
    std::optional<Convolution::Pass> passes[Streams::kMostBlocks];
    for (size_t b = 0; b < c.blocks.size(); ++b) {
      Convolution::Pass& pass = passes[b].emplace(c, local, c.blocks[b], room);
      prepare(e, b, pass.t);
      if (int32_t* place = streams->place(buffer, c.blocks[b]))
        pass.divert(place, there.view.pixel_stride);
    }
    for (int64_t i = 0; i < count; ++i, at.advance()) {
      for (size_t b = 0; b < c.blocks.size(); ++b) {
        passes[b]->t.input = input + pixel(at);
        passes[b]->run(0, 0, 0, at.pixels());
      }
      streams->write(there, buffer, at.image, at.y, at.x, at.pixels());
    }
    c.k->settle();
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
      Convolution::Room room;
      int64_t before = -1;  // the pixel of the row before
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pixel = std::min<int64_t>(std::max(wanted[i], 0), size - 1) - first;
        if (pixel >= 0 && pixel < pixels && pixel == before) {
          std::memcpy(rows + i * width, rows + (i - 1) * width, (size_t)width * 4);
        } else if (pixel >= 0 && pixel < pixels) {
          const uint8_t* from = input + pixel / c.in.dims[2] * c.in.row_stride +
                                pixel % c.in.dims[2] * c.in.pixel_stride;
          for (size_t b = 0; b < c.blocks.size(); ++b) {
            Convolution::Pass pass(c, epilogue, c.blocks[b], room);
            prepare(e, b, pass.t);
            pass.t.input = from;
            pass.run(0, 0, i, 1);
          }
        }
        before = pixel;
      }
    });
    return true;
  }
};

}  // namespace

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
