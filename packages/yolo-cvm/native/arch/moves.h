// Loops that move int32 values, choose between them or join neighbours: what plain steps without
// arithmetic do innermost. Included by every arch/<isa>/kernels.cpp.
//
// All names live in an anonymous namespace, so no two instruction sets share a symbol.
#pragma once
#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace cvm {
namespace {

// Rows of N values, `F` apart where they come from, side by side where they go.
template <int N, int F>
inline void copy_short_rows(const int32_t* from, int32_t* to, int64_t rows, int64_t from_step,
                            int64_t to_step) {
  for (int64_t i = 0; i < rows; ++i)
    for (int k = 0; k < N; ++k) to[i * to_step + k] = from[i * from_step + k * F];
}
template <int F>
inline bool copied_short_rows(const int32_t* from, int32_t* to, const MoveAxis& rows, int64_t n) {
  switch (n) {
    case 1: return copy_short_rows<1, F>(from, to, rows.size, rows.from, rows.to), true;
    case 2: return copy_short_rows<2, F>(from, to, rows.size, rows.from, rows.to), true;
    case 3: return copy_short_rows<3, F>(from, to, rows.size, rows.from, rows.to), true;
    case 4: return copy_short_rows<4, F>(from, to, rows.size, rows.from, rows.to), true;
    case 8: return copy_short_rows<8, F>(from, to, rows.size, rows.from, rows.to), true;
    default: return false;
  }
}

// Whether whole lines are to be fetched for rows that are columns where they come from: near values
// are read as they come, and so are few values whose lines do not meet in one place of the cache.
inline bool shares_lines(const MoveAxis& rows, const MoveAxis& row) {
  constexpr int64_t kFar = 32, kMany = 1 << 17;
  return rows.from == 1 && row.from >= kFar &&
         (row.from % kLineValues == 0 || rows.size * row.size >= kMany);
}

// Rows that are columns where they come from: a block of whole lines at a time, from which long
// pieces of rows are written, so that no line is fetched again for each of its values.
inline void copy_columns(const int32_t* from, int32_t* to, const MoveAxis& rows,
                         const MoveAxis& row) {
  constexpr int64_t kLine = kLineValues, kPiece = 128;
  int32_t block[kPiece][kLine];
  const int64_t height = rows.size < kLine ? rows.size : kLine;
  for (int64_t next = 0; next < rows.size; next += kLine) {
    // The last block is whole too: it writes some values a second time.
    const int64_t i0 = next + height > rows.size ? rows.size - height : next;
    for (int64_t k0 = 0; k0 < row.size; k0 += kPiece) {
      const int64_t width = row.size - k0 < kPiece ? row.size - k0 : kPiece;
      const int32_t* line = from + i0 + k0 * row.from;
      for (int64_t k = 0; k < width; ++k, line += row.from) {
        if (height == kLine) {
          memcpy(block[k], line, sizeof block[k]);
        } else {
          for (int64_t i = 0; i < height; ++i) block[k][i] = line[i];
        }
      }
      for (int64_t i = 0; i < height; ++i) {
        int32_t* piece = to + (i0 + i) * rows.to + k0;
        for (int64_t k = 0; k < width; ++k) piece[k] = block[k][i];
      }
    }
  }
}

// Rows of values that follow each other where they go.
inline void copy_rows(const int32_t* from, int32_t* to, const MoveAxis& rows, const MoveAxis& row) {
  const int64_t n = row.size;
  if (row.from == 1) {
    if (copied_short_rows<1>(from, to, rows, n)) return;
    for (int64_t i = 0; i < rows.size; ++i, from += rows.from, to += rows.to)
      memcpy(to, from, (size_t)n * 4);
  } else if (row.from == 0) {
    if (copied_short_rows<0>(from, to, rows, n)) return;
    for (int64_t i = 0; i < rows.size; ++i, from += rows.from, to += rows.to) {
      const int32_t value = *from;
      for (int64_t k = 0; k < n; ++k) to[k] = value;
    }
  } else if (shares_lines(rows, row)) {
    copy_columns(from, to, rows, row);
  } else {
    for (int64_t i = 0; i < rows.size; ++i, from += rows.from, to += rows.to)
      for (int64_t k = 0; k < n; ++k) to[k] = from[k * row.from];
  }
}

// to[..] = from[..] over three axes, the last the fastest.
inline void copy_block(const int32_t* from, int32_t* to, const MoveAxis* axes) {
  const MoveAxis &outer = axes[0], &rows = axes[1], &row = axes[2];
  for (int64_t o = 0; o < outer.size; ++o, from += outer.from, to += outer.to) {
    if (row.to == 1) {
      copy_rows(from, to, rows, row);
      continue;
    }
    for (int64_t i = 0; i < rows.size; ++i)
      for (int64_t k = 0; k < row.size; ++k)
        to[i * rows.to + k * row.to] = from[i * rows.from + k * row.from];
  }
}

// out[i] = condition[i] ? x[i] : y[i].
inline void choose_row(const int32_t* condition, const int32_t* x, const int32_t* y, int64_t count,
                       int32_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const int32_t a = x[i], b = y[i];
    out[i] = condition[i] ? a : b;
  }
}

// out[i] = the largest of `taps` values from row[i * S] on.
template <int64_t S>
inline void pool_steps(const int32_t* row, int64_t step, int64_t taps, int64_t count,
                       int32_t* out) {
  const int64_t by = S ? S : step;
  for (int64_t i = 0; i < count; ++i) out[i] = row[i * by];
  for (int64_t k = 1; k < taps; ++k)
    for (int64_t i = 0; i < count; ++i)
      out[i] = out[i] > row[i * by + k] ? out[i] : row[i * by + k];
}
inline void pool_row(const int32_t* row, int64_t step, int64_t taps, int64_t count, int32_t* out) {
  if (step == 1) return pool_steps<1>(row, step, taps, count, out);
  if (step == 2) return pool_steps<2>(row, step, taps, count, out);
  pool_steps<0>(row, step, taps, count, out);
}

}  // namespace
}  // namespace cvm
