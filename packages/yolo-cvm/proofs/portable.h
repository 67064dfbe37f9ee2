/* The portable vector type: eight lanes. */
//@ constant arch/kernels.h kPieces kMaxLanes
#define L 8
#define Portable_L L
#define Portable_offset 0
//@ struct arch/portable/kernels.cpp Lanes8 Bytes32 Bytes4
typedef Lanes8 I;
typedef I Portable_I;
typedef Bytes32 W;
typedef Bytes4 A;
static Lanes8 any_lanes(void) {
  Lanes8 x;
  return x;
}
