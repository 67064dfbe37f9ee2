/* The plan checker's description of a tensor: its own arithmetic, and that every pixel of an image,
   border included, and every element of a plain tensor lies in its storage. */
#include "proof.h"
//@ constant plan.cpp kMaxBytes
enum Storage { Storage_kArena, Storage_kConstant, Storage_kInput, Storage_kOutput };
enum { kInt8, kInt16, kInt32 };
typedef int64_t Storage;
typedef int Plan;
//@ struct plan.h Tensor
static int64_t w_next(int64_t lo, int64_t hi) { return any_in(lo, hi); }
static int64_t w_dim(void) { return any_in(1, MOST_DIM); }
static int64_t storage;
static int64_t storage_bytes(Plan p, Tensor t) {
  (void)p, (void)t;
  return storage;
}
/* lemmas/quotient.smt2: what is at most 2^40 / dim is at most 2^40 when multiplied by it. */
static int64_t quotient;
static int64_t most_times(int64_t dim) {
  CLAIM(dim >= 1);
  return quotient = any_in(0, MOST_ELEMENTS);
}
static void times(int64_t* count, int64_t dim) {
  CLAIM(*count >= 1 && *count <= quotient && dim >= 1);
  *count = any_in(*count, MOST_ELEMENTS);
}
static int log_of(int64_t size) {
  CLAIM(size == 1 || size == 2 || size == 4);
  return size == 4 ? 2 : size == 2 ? 1 : 0;
}
/* halo * row, halo * pixel, (batch - 1) * image, (rows + halo) * row, (columns + halo) * pixel */
static Wide reach[5];
static Wide reached(int k, Wide count, Wide step) {
  CLAIM(count >= 0 && step >= 0 && count <= (Wide)1 << 31 && step <= (Wide)1 << 46);
  Wide r;
  GIVEN(r >= 0 && r <= (Wide)1 << 77);
  reach[k] = r;
  return r;
}
//@ take plan.cpp size_of read_tensor
//@ given read_tensor: Plan p = Words& w, const Plan p
//@ given read_tensor: w_ = w.
//@ given read_tensor: << log_of(size); = * size;
//@ given read_tensor: (t.offset & (size - 1)) == 0 = t.offset % size == 0
//@ given read_tensor: times(&t.count, t.dims[i]) = t.count *= t.dims[i]
//@ given read_tensor: most_times(t.dims[i]) = ((int64_t)1 << 40) / t.dims[i]
//@ given read_tensor: reached(0, t.halo, t.row_stride) = (Wide)t.halo * t.row_stride
//@ given read_tensor: reached(1, t.halo, t.pixel_stride) = (Wide)t.halo * t.pixel_stride
//@ given read_tensor: reached(2, t.dims[0] - 1, t.image_stride) = (Wide)(t.dims[0] - 1) * t.image_stride
//@ given read_tensor: reached(3, t.dims[1] - 1 + t.halo, t.row_stride) = (Wide)(t.dims[1] - 1 + t.halo) * t.row_stride
//@ given read_tensor: reached(4, t.dims[2] - 1 + t.halo, t.pixel_stride) = (Wide)(t.dims[2] - 1 + t.halo) * t.pixel_stride

/* How far a coordinate's share stays from the end of its range. */
static Wide slack(Wide range) {
  Wide v;
  GIVEN(v >= 0 && v <= range);
  return v;
}

/* Any pixel and channel: by lemmas/product.smt2 its share of each coordinate lies between
   -halo * step (images: 0) and the last one's. */
static void image(Tensor t) {
  const int bits = log_of(size_of(t.dtype));
  const Wide most = reach[2] + reach[3] + reach[4] + t.dims[3]; /* as read_tensor adds them */
  const Wide least = reach[0] + reach[1];
  bool high;
  Wide off = slack((Wide)1 << 78);
  const Wide second = slack((Wide)1 << 78), third = slack((Wide)1 << 78);
  STEP(off + second >= 0 && off + second + third >= 0);
  off += second + third;
  if (high) { /* the end of an element: most - off, which is no more than most */
    const Wide end = most - off;
    STEP(end <= most && end >= -((Wide)1 << 82));
    STEP(end * 4 <= most * 4 && end * 2 <= most * 2);
    const Wide byte = bits == 2 ? end * 4 : bits == 1 ? end * 2 : end;
    CLAIM(t.offset + byte <= storage);
  } else { /* its first byte */
    const Wide begin = off - least;
    STEP(begin >= -least && begin <= (Wide)1 << 82);
    STEP(begin * 4 >= -least * 4 && begin * 2 >= -least * 2);
    const Wide byte = bits == 2 ? begin * 4 : bits == 1 ? begin * 2 : begin;
    CLAIM(t.offset + byte >= 0);
  }
}

int main(void) {
  storage = any_in(0, kMaxBytes);
  const Tensor t = read_tensor(0);
  if (t.image) {
    image(t);
  } else {
    CLAIM(t.offset + any_in(0, t.count - 1) * 4 + 4 <= storage);
  }
  REACHED;
}
