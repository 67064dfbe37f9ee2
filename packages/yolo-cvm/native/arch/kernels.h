// The one list of functions which an instruction set offers; every arch/<isa>/ fills it in.
//
// Everything here is plain data: the sources of one instruction set are compiled with its own
// flags, so they must not share inline library code with the rest (a std:: template instantiated
// there could be picked by the linker for a machine that lacks the instructions).
#pragma once
#include <stdint.h>

#include "format.h"

namespace cvm {

// Straight pieces that reproduce a small lookup table exactly: for every index i of the table,
//   out = min(top, (base[p] + (slope[p] * (part << (15 - bits)) >> 16)) >> 8),
//   p = i >> bits, part = i & (2^bits - 1).
constexpr int kPieces = 128;
struct Segments {
  int32_t usable;
  int32_t bits;
  int32_t top;
  uint16_t base[kPieces];
  int16_t slope[kPieces];
};

// A lookup table; `bytes` already carries the storage offset of the instruction set.
struct Table {
  const int32_t* values;
  int64_t count;
  const uint8_t* bytes;  // null when a value does not fit eight bits
  const Segments* segments;
};

// Straight pieces that reproduce part of a table of int8 exactly: for every index i of the part,
//   out = min(127, (256 * value[p] + code[p] + slope[code[p] % 16] * (i % 2^bits)) >> 8), p = i >> bits.
// The slopes are shared by all pieces of a plan.
constexpr int kBytePieces = 256;
constexpr int kSlopes = 16;
constexpr int kMaxPieceBits = 7;
struct alignas(64) BytePieces {
  int8_t value[kBytePieces];
  uint8_t code[kBytePieces];
};

// The pieces that the lanes of one block use.
constexpr int kMaxBytePieces = 6;
struct BlockPieces {
  int32_t bits;
  int32_t count;  // 0: none, the table is looked up
  const BytePieces* of[kMaxBytePieces];
  uint8_t lanes[32];  // which of them a lane uses
  const int8_t* slopes;
};

// A table of int16 whose neighbours differ by one of two numbers within a piece of 2^bits indices,
// reproduced exactly: for every index i of the table, with p = i >> bits and j = i % 2^bits,
//   out = first[p] + tilt[p] * j + how many of the first j steps of rises[p] are set.
// Step k of 1 .. 2^bits - 1 is bit 16 - 2^bits + k, so that a shift to the left by 2^bits - 1 - j
// leaves the first j of them.
constexpr int kWordPieces = 256;
constexpr int kMaxWordPieceBits = 4;
struct alignas(64) WordPieces {
  uint8_t first_low[kWordPieces], first_high[kWordPieces];
  uint8_t rises_low[kWordPieces], rises_high[kWordPieces];
  int8_t tilt[kWordPieces];
  int32_t bits;
};

// clamp -> multiply -> rounding shift -> clamp -> add, each step may be the identity. Pointers are
// per lane, padded to the block.
struct Requant {
  int32_t clip;  // whether the first clamp is needed
  int32_t clip_lo, clip_hi;
  const int32_t* mul;       // null for one
  int32_t shift;            // 0 for none
  int32_t carry_free;       // x + rounding cannot leave int32
  const int32_t* rounding;  // when carry-free: 2^(shift-1), plus what is to be added beforehand
  int32_t lo, hi;           // the clamp after the shift
  const int32_t* offset;    // null for none
};

// The same with per-channel pointers that begin `by` channels later. Every source has its own.
static inline Requant advanced(Requant q, int64_t by) {
  if (q.mul) q.mul += by;
  if (q.rounding) q.rounding += by;
  if (q.offset) q.offset += by;
  return q;
}

// A tensor of pixels: element (image, y, x, channel) at base + strides, in elements of `dtype`.
struct View {
  uint8_t* base;
  int32_t dtype;
  int64_t image_stride, row_stride, pixel_stride;
};

// One operation on tile registers: int32 [pixels][lanes] buffers in the first level cache.
struct TileOp {
  int32_t kind, dst, a, b;
  int32_t lo, hi;
  const int32_t* constant;  // one per channel, padded to the last block
  Requant requant;  // pointers are indexed by channel here
  Table table;
  View view;
  const int32_t* channel_offset;  // kScatter: element offset of each channel
  const int32_t* channel_run;     // and how many follow each other from it on, itself included
};

constexpr int kMaxPixels = 24;
constexpr int kMaxLanes = 64;

struct Tile {
  int32_t* registers[kTileRegisters];
  const TileOp* ops;
  int64_t op_count;
  int64_t image, y, x;     // first pixel
  int64_t pixels, lanes;   // size of the tile; registers have `lanes` columns
  int64_t channel, valid;  // first channel, lanes that exist
};

enum Indexed : int32_t { kNoIndex = 0, kWordIndex = 1, kLongIndex = 2, kLaneIndex = 3 };

// Where the micro-kernel leaves its accumulators.
struct ByteSink {
  uint8_t* base;  // first pixel, first channel of the tile
  int64_t pixel_stride;
  const Table* table;  // null: the value itself (plus storage offset)
  // kLaneIndex:
  const BlockPieces* pieces;
  const int32_t* first;  // per lane: where its part of the table begins; null for 0
};
// Bytes for the indices [pixels][lanes] of kLaneIndex; whole registers are read.
typedef void (*LaneLookup)(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                           const ByteSink& sink);
// What is made of the words that indices give: they are added to others, go to memory as words, and
// as bytes behind a requantization. Strides are those between pixels, in elements.
struct WordSink {
  const WordPieces* pieces;
  const int16_t* added;  // null: nothing
  int64_t added_stride;
  int16_t* words;  // null: not wanted
  int64_t words_stride;
  uint8_t* bytes;  // null: not wanted; they are wanted only of sums
  int64_t bytes_stride;
  // Of the bytes: a multiplication by int16, a carry-free shift, a clamp to bytes. Pointers start at
  // the tile's first lane.
  Requant requant;
};
// As LaneLookup.
typedef void (*WordLookup)(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                           const WordSink& sink);
struct ConvTile {
  const uint8_t* input;    // first pixel, first tap
  int64_t step;            // bytes between neighbouring pixels
  const int64_t* offsets;  // first byte of every run of taps
  int64_t runs, run_words; // a run is run_words * 4 input bytes
  const int8_t* weights;   // [runs][run_words][lanes][4], see also Kernels::pairs
  const int32_t* start;    // per lane: what is added to the products
  int64_t start_step;      // from pixel to pixel; 0 for a bias
  const Requant* requant;  // null: raw accumulators; pointers start at the tile's first lane
  int32_t* out;            // where values go too, or null
  int64_t out_step;        // from pixel to pixel there
  const ByteSink* sinks;
  int64_t sink_count;
  int32_t indexed;         // every sink has a table, and requantized values index all of them;
                           // kWordIndex when they fit 16 bits, kLongIndex when not; kLaneIndex
                           // when they do without the addition, which says where a lane's part
                           // of the tables begins
  LaneLookup lookup;       // for kLaneIndex
  const WordSink* words;   // for kLaneIndex, whose values index its pieces too; null for none
  WordLookup lookup_words; // for `words`
  int64_t valid;           // lanes that exist
};
typedef void (*ConvKernel)(const ConvTile&);

// 3x3 convolutions by 36 products of 16-bit values per 16 outputs; see winograd.h for the algebra.
// "Positions" are the 36 places of a transformed 6x6 tile, `step` elements apart.
constexpr int kPositions = 36;
struct Winograd {
  int32_t least_channels;  // of input and of output, from which it is faster than the direct way
  int32_t max_tiles[3];    // as Kernels::max_pixels
  // multiply[vectors][tiles]: as Kernels::conv, on words of two int16
  ConvKernel multiply[3][kMaxPixels + 1];
  // the 36 pixels at base + offsets -> out[position][channel]; whole registers are read and written
  void (*input)(const uint8_t* base, const int64_t* offsets, int64_t channels, int16_t* out,
                int64_t step);
  // taps[count][9][lanes of 16 bits] -> out[position][count][lanes of 16 bits]
  void (*weights)(const int8_t* taps, int64_t count, int16_t* out, int64_t step);
  // sums[position][lanes] -> out[4 rows][4][lanes], the convolution plus bias
  void (*output)(const int32_t* sums, int64_t step, const int32_t* bias, int64_t vectors,
                 int32_t* out, int64_t row_step);
};

// One row of a plain step: `count` values, neighbours `step` elements apart.
struct UnaryRow {
  const int32_t* x;
  int32_t* out;
  int64_t count;
  int32_t lo, hi, shift;
};
struct BinaryRow {
  const int32_t *a, *b;
  int32_t* out;
  int64_t a_step, b_step, out_step, count;
};

// One axis of a copy: its size, and how far both sides move, in elements.
struct MoveAxis {
  int64_t size, from, to;
};

// Values of a line of the cache: so many columns are best moved together.
constexpr int64_t kLineValues = 16;

// Boxes that suppression has kept, one array for each number.
struct Boxes {
  int32_t *id, *x1, *y1, *x2, *y2;
};

// Where the pixels of a resized row come from, and their weights.
struct PixelTaps {
  const int32_t *first, *second, *left, *right;
};

constexpr int64_t kDenseRows = 4, kDenseLanes = 32;  // of a dense layer, added up together
constexpr int64_t kTapLanes = 16;  // outputs that a plain convolution adds up together

// What plain steps do innermost, and resizing of pictures; see loops.h.
struct Loops {
  void (*unary)(UnaryKind kind, const UnaryRow& row);
  void (*binary)(BinaryKind kind, const BinaryRow& row);
  int32_t (*sum)(int32_t from, const int32_t* x, int64_t step, int64_t count);
  int32_t (*max)(int32_t from, const int32_t* x, int64_t step, int64_t count);
  void (*add_rows)(int32_t* into, const int32_t* x, int64_t count);
  void (*max_rows)(int32_t* into, const int32_t* x, int64_t count);
  void (*lookup)(const int32_t* table, int64_t size, const int32_t* index, int64_t count,
                 int32_t* out);
  void (*copy_block)(const int32_t* from, int32_t* to, const MoveAxis* three);
  void (*choose)(const int32_t* condition, const int32_t* x, const int32_t* y, int64_t count,
                 int32_t* out);
  void (*pool)(const int32_t* row, int64_t step, int64_t taps, int64_t count, int32_t* out);
  // out[i] = all of x[i][0..n) joined: added up from 0, or the largest of them and of `least`
  void (*join_rows)(bool maximum, int32_t least, const int32_t* x, int64_t rows, int64_t n,
                    int32_t* out);
  // sums[r][i] += x[r][k] * weight[k][i] over all k, wrapping, for up to kDenseRows rows
  void (*dense)(const int32_t* x, int64_t rows, int64_t terms, const int8_t* weight,
                int32_t* sums);
  int32_t (*dot)(int32_t from, const int32_t* x, const int32_t* y, int64_t count);
  int64_t (*overlapping)(const Boxes& boxes, int64_t from, int64_t count, const int32_t* box,
                         bool force);
  bool (*within)(const int32_t* x, int64_t count, int32_t bound);
  void (*multiply_lanes)(int32_t* into, const int32_t* x, const int32_t* factors, int64_t taps,
                         int64_t count);
  void (*blend_pixels)(const uint8_t* row, const PixelTaps& taps, int64_t count, int16_t* out);
  void (*blend_rows)(const int16_t* a, const int16_t* b, int32_t upper, int32_t lower,
                     int64_t count, uint8_t* out);
};

// Hexadecimal digits; see digits.h.
struct Digits {
  void (*spell_bytes)(const uint8_t* bytes, int64_t count, uint8_t* digits);
  void (*spell_words)(const int32_t* words, int64_t count, uint8_t* digits);
  bool (*read)(const uint8_t* digits, int64_t count, uint8_t* bytes);
};

// Windows over a row of pixels that lie side by side; steps in pixels, `out_step` in values.
struct PoolRow {
  const uint8_t* row;
  uint8_t* out;
  int64_t channels, pixels, taps, step, out_step;
};

struct Kernels {
  const char* name;
  int32_t offset;         // stored byte = value + offset (0 or 128)
  int32_t vector_lanes;   // int32 lanes of one register
  int32_t max_vectors;    // registers per block of output channels (1 or 2)
  bool pairs;             // a register's weights lie as [pair][lane][2] instead of [lane][4]
  int32_t max_pixels[3];  // by vectors per block; entry 0 unused
  // conv[vectors][pixels], pixels from 1 to max_pixels[vectors]
  ConvKernel conv[3][kMaxPixels + 1];
  void (*tile_code)(const Tile&);
  LaneLookup lookup;  // null where the sinks of a tile know no kLaneIndex
  WordLookup lookup_words;  // null where `lookup` is
  // Copies values past the caches, null where the instruction set has no such stores; other threads
  // see them after `settle`.
  void (*stream)(int32_t* into, const int32_t* values, int64_t count);
  void (*settle)();
  // the larger of two pixels of `count` channels
  void (*max_pixel)(int32_t dtype, uint8_t* into, const uint8_t* other, int64_t count);
  void (*pool_pixels)(int32_t dtype, const PoolRow& row);
  // int32 planes to interleaved bytes: out[x * pixel_stride + c] = plane c, element x, + offset
  void (*interleave)(uint8_t* out, int64_t pixel_stride, const int32_t* planes, int64_t plane_stride,
                     int64_t channels, int64_t pixels);
  Loops loops;
  Digits digits;
  const Winograd* winograd;  // null where the direct way is always faster
  // a loop that only multiplies registers, for the measured ceiling
  int64_t (*ceiling)(int64_t rounds);
};

// Null where the source was compiled for another machine.
const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avxvnni();
const Kernels* kernels_avx512vnni();
const Kernels* kernels_avx512vbmi();
const Kernels* kernels_neon();
const Kernels* kernels_wasm();

// The best set this machine can run, or the named one; null when it cannot run `name`.
const Kernels* select_kernels(const char* name);
// Names of the sets this machine can run, best first, separated by spaces.
const char* runnable_kernels();

}  // namespace cvm
