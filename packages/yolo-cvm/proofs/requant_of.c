/* What the plan checker admits of a requantization is what the requantizer needs. */
#include "proof.h"
typedef struct {
  const int32_t* data;
} Constant;
typedef struct {
  int32_t clip, clip_lo, clip_hi, shift, carry_free, low, high;
  Constant mul, rounding, offset;
} TileRequantFields;
typedef int Frame;
//@ struct arch/kernels.h Requant
typedef struct {
  Requant requant;
} TileOp;
static TileOp op;
static const int32_t* channels_of(Constant c, Frame f) {
  (void)f;
  return c.data;
}
#define q op.requant
//@ take tile_code.cpp TileCode::requant_of
//@ given TileCode_requant_of: ( = (TileOp& op,
//@ given TileCode_requant_of:  = Requant& q = op.requant;
#undef q

int main(void) {
  TileRequantFields r;
  /* the bounds of the fields in engine/format.py */
  GIVEN(r.shift >= 0 && r.shift <= 32 && r.carry_free >= 0 && r.carry_free <= 1);
  TileCode_requant_of(r, 0);
  const Requant q = op.requant;
  CLAIM(q.shift >= 0 && q.shift <= 32);
  CLAIM(!q.carry_free || (q.shift >= 1 && q.shift <= 30));
  REACHED;
}
