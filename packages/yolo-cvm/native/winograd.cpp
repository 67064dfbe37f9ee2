// Winograd's way through 3x3 convolutions: transform the pixels, multiply 36 times, transform back.
//
// Transformed, pixels take 4.5 times and weights 8 times their bytes, so only the smaller of the two
// is kept whole during a step, and the other is made in the cache, piece by piece:
//     many tiles       all weights; then every task transforms a band of tiles for all blocks
//     many channels    all pixels; then every task expands one block's weights for a range of tiles
// In memory between runs the weights stay bytes.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "conv.h"

namespace cvm {
namespace {

constexpr int64_t kSide = 4;  // outputs of a tile, each way
constexpr int64_t kTaps = 9;
constexpr int64_t kLine = 64;
constexpr int64_t kBandBytes = 448 << 10;  // of pixels, for the second cache
constexpr int64_t kNearBytes = 2 << 20;    // of weights that a third cache keeps

// Distance in bytes between positions: an odd number of cache lines, so that the 36 spread over all
// sets of a cache.
int64_t spread(int64_t bytes) { return ((bytes + kLine - 1) / kLine | 1) * kLine; }

struct WinogradStep : WholeStep {
  Convolution c;
  const Winograd& w;
  int64_t down, across, tiles;    // tiles of an image: rows, columns; of the batch
  int64_t channels;               // of the input, in whole registers
  int64_t words;                  // pairs of input channels
  bool banded;                    // all weights are kept, pixels come in bands
  int64_t band;                   // tiles whose pixels are there at a time
  int64_t pixel_step;             // bytes between positions of transformed pixels
  PackedWeights taps;             // [block][word][vector][9][lane][2]
  std::vector<int64_t> expanded;  // banded: first byte of every block's weights, then the end
  int64_t common;                 // bytes that all tasks read: all weights, or all pixels
  bool alone;                     // every thread makes these itself
  std::vector<int32_t> no_start;  // sums begin with zero

  explicit WinogradStep(Convolution&& convolution)
      : c(std::move(convolution)), w(*c.k->winograd) {
    down = (c.shape[1] + kSide - 1) / kSide, across = (c.shape[2] + kSide - 1) / kSide;
    tiles = c.shape[0] * down * across;
    const int64_t register_channels = 2 * c.k->vector_lanes;
    words = (c.in.dims[3] + 1) / 2;
    channels = (c.in.dims[3] + register_channels - 1) / register_channels * register_channels;
    const int64_t all_weights = kPositions * words * c.padded_channels() * 4;
    banded = tiles > c.shape[3] || (all_weights <= kNearBytes && tiles >= 2 * chunk(c.blocks[0]));
    band = tiles;
    if (banded) {
      // Small enough for the second cache and for sixteen tasks, in whole chunks.
      const int64_t wanted = std::min(kBandBytes / (kPositions * channels * 2), tiles / 16);
      const int64_t whole = chunk(c.blocks[0]);
      band = std::max<int64_t>(1, wanted / whole) * whole;
    }
    pixel_step = spread(band * channels * 2);
    expanded.push_back(0);
    for (const Block& b : c.blocks) expanded.push_back(expanded.back() + weight_bytes(b));
    common = spread(banded ? expanded.back() : pixel_bytes());
    alone = common <= kNearBytes;
    no_start.assign((size_t)(c.k->max_vectors * c.k->vector_lanes), 0);
    c.weight.visit([&](const auto* values) { pack(values); });
  }

  int64_t lane_bytes() const { return words * kTaps * 2; }

  // Two channels of all lanes, then the next two: what is written meanwhile stays in the cache.
  template <class T>
  void pack(const T* from) {
    const int64_t lanes = c.k->vector_lanes, channels = c.in.dims[3];
    taps = packed_zeros(c.padded_channels() * lane_bytes());
    for (const Block& b : c.blocks) {
      int8_t* packed = taps.get() + b.channel * lane_bytes();
      for (int64_t ch = 0; ch < channels; ++ch)
        for (int64_t l = 0; l < b.valid; ++l) {
          const T* values = from + ((b.channel + l) * channels + ch) * kTaps;
          int8_t* into = packed + ch % 2 + l % lanes * 2 +
                         (ch / 2 * b.vectors + l / lanes) * kTaps * lanes * 2;
          for (int64_t t = 0; t < kTaps; ++t) into[t * lanes * 2] = (int8_t)values[t];
        }
    }
  }

  // Tiles that one block works through at a time; their sums stay in the cache.
  int64_t chunk(const Block& b) const {
    const int64_t most = w.max_tiles[b.vectors];
    return std::max<int64_t>(1, 28 / most) * most;
  }
  int64_t weight_step(const Block& b) const { return spread(words * b.lanes * 4); }
  int64_t sum_step(const Block& b) const { return spread(chunk(b) * b.lanes * 4); }
  // Tiles side by side whose outputs go through the epilogue together.
  int64_t abreast(const Block& b) const {
    return std::max<int64_t>(1, c.k->max_pixels[b.vectors] / kSide);
  }

  int64_t weight_bytes(const Block& b) const { return kPositions * weight_step(b); }
  int64_t pixel_bytes() const { return kPositions * pixel_step; }
  // Sums of a chunk, and outputs on their way to the epilogue.
  int64_t sum_bytes(const Block& b) const {
    return kPositions * sum_step(b) + kSide * kSide * abreast(b) * b.lanes * 4;
  }

  Scratch scratch() const override {
    int64_t most_weights = 0, most_sums = 0;
    for (const Block& b : c.blocks) {
      most_weights = std::max(most_weights, weight_bytes(b));
      most_sums = std::max(most_sums, sum_bytes(b));
    }
    const int64_t each = most_sums + (banded ? pixel_bytes() : most_weights);
    return alone ? Scratch{0, kLine + common + each} : Scratch{common, each};
  }

  void run(Execution& e) const override {
    Convolution::Epilogue epilogue;
    c.bind(e, &epilogue);
    for (int thread = 0; alone && thread < e.pool.threads(); ++thread) made(e, thread) = false;
    if (banded) {
      run_bands(e, epilogue);
    } else {
      run_blocks(e, epilogue);
    }
  }

  // Where what all tasks read lies, and behind it the thread's own part. To read what another
  // processor has written takes longer than to make it again.
  bool& made(Execution& e, int thread) const { return *(bool*)e.own(thread); }
  uint8_t* common_of(Execution& e, int thread) const {
    return alone ? e.own(thread) + kLine : e.shared();
  }
  uint8_t* own_of(Execution& e, int thread) const {
    return alone ? e.own(thread) + kLine + common : e.own(thread);
  }
  // Whether a task has to make it.
  bool makes(Execution& e, int thread) const {
    if (!alone || !e.products || made(e, thread)) return false;
    return made(e, thread) = true;
  }

  void run_bands(Execution& e, const Convolution::Epilogue& epilogue) const {
    const int64_t blocks = (int64_t)c.blocks.size();
    const auto expand_into = [&](uint8_t* all, int64_t i) {
      expand(c.blocks[(size_t)i], (int16_t*)(all + expanded[(size_t)i]));
    };
    if (!alone && e.products)
      e.pool.run(blocks, [&](int64_t i) { expand_into(e.shared(), i); });
    e.pool.run_on((tiles + band - 1) / band, [&](int64_t task, int thread) {
      const int64_t begin = task * band, end = std::min(tiles, begin + band);
      uint8_t* all = common_of(e, thread);
      int16_t* pixels = (int16_t*)own_of(e, thread);
      int32_t* sums = (int32_t*)(own_of(e, thread) + pixel_bytes());
      if (makes(e, thread))
        for (int64_t i = 0; i < blocks; ++i) expand_into(all, i);
      if (e.products) transform(e, begin, end, pixels);
      for (size_t i = 0; i < c.blocks.size(); ++i)
        block(e, epilogue, pixels, begin, (int16_t*)(all + expanded[i]), c.blocks[i], begin, end,
              sums);
    });
  }

  void run_blocks(Execution& e, const Convolution::Epilogue& epilogue) const {
    if (!alone && e.products)
      e.split(tiles, 8, [&](int64_t begin, int64_t end) {
        transform(e, begin, end, (int16_t*)e.shared() + begin * channels);
      });
    // Enough tasks to share among threads, but expanding the weights must pay.
    const int64_t blocks = (int64_t)c.blocks.size();
    const int64_t ranges = std::max<int64_t>(1, std::min((16 + blocks - 1) / blocks, tiles / 48));
    e.pool.run_on(blocks * ranges, [&](int64_t task, int thread) {
      const Block& b = c.blocks[(size_t)(task / ranges)];
      const int64_t range = task % ranges;
      int16_t* pixels = (int16_t*)common_of(e, thread);
      int16_t* weights = (int16_t*)own_of(e, thread);
      int32_t* sums = (int32_t*)(own_of(e, thread) + weight_bytes(b));
      if (makes(e, thread)) transform(e, 0, tiles, pixels);
      if (e.products) expand(b, weights);
      block(e, epilogue, pixels, 0, weights, b, piece_start(tiles, ranges, range),
            piece_start(tiles, ranges, range + 1), sums);
    });
  }

  void expand(const Block& b, int16_t* weights) const {
    w.weights(taps.get() + b.channel * lane_bytes(), words * b.vectors, weights,
              weight_step(b) / 2);
  }

  // Tiles [begin, end), the first one to `pixels`. Where tiles reach past the last pixel that an
  // output needs, that pixel is read again: whatever stands there cancels in all outputs that exist.
  void transform(const Execution& e, int64_t begin, int64_t end, int16_t* pixels) const {
    const Tensor& in = c.in;
    const int64_t bottom = c.shape[1] + 1 - c.ph, right = c.shape[2] + 1 - c.pw;
    for (int64_t t = begin; t < end; ++t, pixels += channels) {
      const int64_t top = t / across % down * kSide - c.ph, left = t % across * kSide - c.pw;
      const uint8_t* image = e.address(in) + t / (across * down) * in.image_stride;
      int64_t offsets[kPositions];
      for (int64_t i = 0; i < 6; ++i)
        for (int64_t j = 0; j < 6; ++j)
          offsets[i * 6 + j] = std::min(top + i, bottom) * in.row_stride +
                               std::min(left + j, right) * in.pixel_stride;
      w.input(image, offsets, in.dims[3], pixels, pixel_step / 2);
    }
  }

  // Tiles [begin, end) of one block; `pixels` begin with tile `first`.
  void block(const Execution& e, const Convolution::Epilogue& epilogue, const int16_t* pixels,
             int64_t first, const int16_t* weights, const Block& b, int64_t begin, int64_t end,
             int32_t* sums) const {
    int32_t* outputs = sums + kPositions * sum_step(b) / 4;
    Convolution::Room room;
    Convolution::Pass pass(c, epilogue, b, room);
    pass.t.start_step = b.lanes;
    for (int64_t at = begin; at < end; at += chunk(b)) {
      const int64_t count = std::min(chunk(b), end - at);
      if (e.products) multiply(pixels, weights, b, at - first, count, sums);
      for (int64_t done = 0; done < count;) {
        const int64_t x = (at + done) % across;
        const int64_t n = std::min({abreast(b), count - done, across - x});
        finish(pass, sums + done * b.lanes, b, at + done, n, outputs);
        done += n;
      }
    }
  }

  void multiply(const int16_t* pixels, const int16_t* weights, const Block& b, int64_t first,
                int64_t count, int32_t* sums) const {
    const int64_t no_offset = 0;
    const int64_t most = w.max_tiles[b.vectors], parts = (count + most - 1) / most;
    ConvTile t;
    std::memset(&t, 0, sizeof t);
    t.step = channels * 2;
    t.offsets = &no_offset;
    t.runs = 1;
    t.run_words = words;
    t.start = no_start.data();
    t.out_step = b.lanes;
    for (int64_t p = 0; p < kPositions; ++p) {
      t.weights = (const int8_t*)weights + p * weight_step(b);
      const uint8_t* row = (const uint8_t*)pixels + p * pixel_step + first * t.step;
      for (int64_t i = 0; i < parts; ++i) {
        const int64_t from = piece_start(count, parts, i), to = piece_start(count, parts, i + 1);
        t.input = row + from * t.step;
        t.out = sums + p * sum_step(b) / 4 + from * b.lanes;
        w.multiply[b.vectors][to - from](t);
      }
    }
  }

  // Transform n tiles of one row back and run the epilogue on the pixels that exist.
  void finish(Convolution::Pass& pass, const int32_t* sums, const Block& b, int64_t first,
              int64_t n, int32_t* outputs) const {
    const int64_t row_step = n * kSide * b.lanes;
    for (int64_t i = 0; i < n; ++i)
      w.output(sums + i * b.lanes, sum_step(b) / 4, c.bias.data() + b.channel, b.vectors,
               outputs + i * kSide * b.lanes, row_step);
    const int64_t image = first / (down * across), row = first / across % down;
    const int64_t x = first % across * kSide;
    const int64_t width = std::min(n * kSide, c.shape[2] - x);
    const int64_t most = c.k->max_pixels[b.vectors];
    for (int64_t y = 0; y < kSide && row * kSide + y < c.shape[1]; ++y)
      for (int64_t done = 0; done < width; done += most) {
        pass.t.start = outputs + y * row_step + done * b.lanes;
        pass.run(image, row * kSide + y, x + done, std::min(most, width - done));
      }
  }
};

// Whether every sum of products stays below 2^25, whatever the input.
bool stays_below(const Convolution& c) {
  const int64_t taps = c.in.dims[3] * kTaps;
  return c.weight.visit([&](const auto* values) {
    for (int64_t o = 0; o < c.shape[3]; ++o, values += taps) {
      int64_t sum = 0;
      for (int64_t j = 0; j < taps; ++j) sum += std::abs((int32_t)values[j]);
      if (sum * 128 >= (int64_t)1 << 25) return false;
    }
    return true;
  });
}

}  // namespace

std::unique_ptr<Step> make_winograd(Convolution& c) {
  const Winograd* w = c.k->winograd;
  if (!w || c.kh != 3 || c.kw != 3 || c.sh * c.sw * c.dh * c.dw != 1) return nullptr;
  const int64_t channels = std::min(c.in.dims[3], c.shape[3]);
  if (c.grouped() || channels < w->least_channels || !stays_below(c)) return nullptr;
  // Borders of tiles that do not exist are work too.
  const auto padded = [](int64_t size) { return (size + kSide - 1) / kSide * kSide; };
  if (padded(c.shape[1]) * padded(c.shape[2]) > 2 * c.shape[1] * c.shape[2]) return nullptr;
  return std::make_unique<WinogradStep>(std::move(c));
}

}  // namespace cvm
