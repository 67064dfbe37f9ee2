// Sixteen floats side by side, in registers of YOLO_REGISTER bytes. Included by every arch/*/ with
// its own register size, inside an unnamed namespace: nothing here is shared between sets.

constexpr int kLanes = 16;
constexpr int kWidth = YOLO_REGISTER / 4;
constexpr int kRegisters = kLanes / kWidth;

typedef float Reg __attribute__((vector_size(YOLO_REGISTER)));
typedef int32_t IntReg __attribute__((vector_size(YOLO_REGISTER)));

struct Lanes {
  Reg part[kRegisters];
};

// Register by register: a copy of all of them at once goes through memory in narrower pieces.
typedef float AnyReg __attribute__((vector_size(YOLO_REGISTER), aligned(4), may_alias));

inline Lanes load(const float* from) {
  Lanes v;
  for (int k = 0; k < kRegisters; ++k) v.part[k] = *(const AnyReg*)(from + k * kWidth);
  return v;
}

inline void store(float* to, const Lanes& v) {
  for (int k = 0; k < kRegisters; ++k) *(AnyReg*)(to + k * kWidth) = v.part[k];
}

// The first `count` values, zeros after them.
inline Lanes load_some(const float* from, int64_t count) {
  float all[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) all[i] = from[i];
  return load(all);
}

inline void store_some(float* to, const Lanes& v, int64_t count) {
  float all[kLanes];
  store(all, v);
  for (int64_t i = 0; i < count; ++i) to[i] = all[i];
}

// v with zeros from place `count` on.
inline Lanes keep(const Lanes& v, int64_t count) {
  float all[kLanes];
  store(all, v);
  return load_some(all, count);
}

inline double total(const Lanes& v) {
  float all[kLanes];
  store(all, v);
  double sum = 0;
  for (float each : all) sum += each;
  return sum;
}

// 1 / (1 + exp(-z)), to two units in the last place. exp by 2^n * e^r with |r| <= ln(2) / 2 and its
// Taylor polynomial of degree 7, whose remainder there is below 6e-9.
inline Reg sigmoid(Reg z) {
  constexpr float kTop = 88.0f, kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds
  Reg t = -z;
  t = t > kTop ? Reg{} + kTop : t;
  t = t < -kTop ? Reg{} - kTop : t;
  const Reg shifted = t * 1.44269504f + kRound;
  const Reg n = shifted - kRound;
  const Reg r = (t - n * 0.693359375f) + n * 2.12194440e-4f;  // ln(2) in two parts
  Reg p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const IntReg bits = ((IntReg)shifted << 23) + (127 << 23);  // the casts keep the bits
  return 1.0f / (1.0f + p * (Reg)bits);
}
