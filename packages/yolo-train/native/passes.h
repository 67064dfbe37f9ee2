// The passes themselves, in terms of lanes.h.

// Values that are summed in float32 before float64 takes over; they fit a first level cache.
constexpr int64_t kChunk = 4096;

struct Folded {
  float scale, shift;  // the normalised value is x * scale + shift
};

inline Folded fold(const Norm& n) {
  const float scale = n.gamma * n.inverse;
  return {scale, n.beta - n.mean * scale};
}

void moments(const Channel& c, const float* x, double* mean, double* variance) {
  double count = 0, middle = 0, squares = 0;
  for (int64_t image = 0; image < c.images; ++image) {
    for (int64_t from = 0; from < c.pixels; from += kChunk) {
      const float* row = x + image * c.step + from;
      const int64_t size = c.pixels - from < kChunk ? c.pixels - from : kChunk;
      const int64_t whole = size / kLanes * kLanes, rest = size - whole;
      Lanes sum = {};
      for (int64_t i = 0; i < whole; i += kLanes) {
        const Lanes v = load(row + i);
        for (int k = 0; k < kRegisters; ++k) sum.part[k] += v.part[k];
      }
      if (rest) {
        const Lanes v = load_some(row + whole, rest);
        for (int k = 0; k < kRegisters; ++k) sum.part[k] += v.part[k];
      }
      const double own = total(sum) / (double)size;
      const float center = (float)own;
      Lanes wide = {};
      for (int64_t i = 0; i < whole; i += kLanes) {
        const Lanes v = load(row + i);
        for (int k = 0; k < kRegisters; ++k) {
          const Reg d = v.part[k] - center;
          wide.part[k] += d * d;
        }
      }
      if (rest) {
        Lanes v = load_some(row + whole, rest);
        for (int k = 0; k < kRegisters; ++k) {
          const Reg d = v.part[k] - center;
          v.part[k] = d * d;
        }
        v = keep(v, rest);
        for (int k = 0; k < kRegisters; ++k) wide.part[k] += v.part[k];
      }
      // around `own`, not around its rounded value
      const double slip = own - center, added = (double)size;
      const double spread = total(wide) - added * slip * slip;
      // Chan, Golub, LeVeque (1979): moments of two sets from the moments of each
      const double away = own - middle, all = count + added;
      middle += away * (added / all);
      squares += spread + away * away * (count * added / all);
      count = all;
    }
  }
  *mean = middle;
  *variance = squares > 0 || squares != squares ? squares / count : 0;
}

inline Reg silu(Reg x, const Folded& f) {
  const Reg z = x * f.scale + f.shift;
  return z * sigmoid(z);
}

void forward(const Channel& c, const Norm& n, const float* x, float* y) {
  const Folded f = fold(n);
  const int64_t whole = c.pixels / kLanes * kLanes, rest = c.pixels - whole;
  for (int64_t image = 0; image < c.images; ++image) {
    const float* from = x + image * c.step;
    float* to = y + image * c.step;
    for (int64_t i = 0; i < whole; i += kLanes) {
      Lanes v = load(from + i);
      for (int k = 0; k < kRegisters; ++k) v.part[k] = silu(v.part[k], f);
      store(to + i, v);
    }
    if (rest) {
      Lanes v = load_some(from + whole, rest);
      for (int k = 0; k < kRegisters; ++k) v.part[k] = silu(v.part[k], f);
      store_some(to + whole, v, rest);
    }
  }
}

// d silu(z) / dz times dy
inline Reg through(Reg x, Reg dy, const Folded& f) {
  const Reg z = x * f.scale + f.shift;
  const Reg s = sigmoid(z);
  return dy * (s * (1.0f + z * (1.0f - s)));
}

void sums(const Channel& c, const Norm& n, const float* x, const float* dy, float* dz, double* sum,
          double* product) {
  const Folded f = fold(n);
  double all = 0, joint = 0;
  for (int64_t image = 0; image < c.images; ++image) {
    for (int64_t from = 0; from < c.pixels; from += kChunk) {
      const int64_t start = image * c.step + from;
      const float* row = x + start;
      const float* grad = dy + start;
      float* to = dz + start;
      const int64_t size = c.pixels - from < kChunk ? c.pixels - from : kChunk;
      const int64_t whole = size / kLanes * kLanes, rest = size - whole;
      Lanes a = {}, b = {};
      for (int64_t i = 0; i < whole; i += kLanes) {
        const Lanes v = load(row + i);
        Lanes g = load(grad + i);
        for (int k = 0; k < kRegisters; ++k) {
          g.part[k] = through(v.part[k], g.part[k], f);
          a.part[k] += g.part[k];
          b.part[k] += g.part[k] * ((v.part[k] - n.mean) * n.inverse);
        }
        store(to + i, g);
      }
      if (rest) {
        const Lanes v = load_some(row + whole, rest);
        Lanes g = load_some(grad + whole, rest), q = {};
        for (int k = 0; k < kRegisters; ++k) {
          g.part[k] = through(v.part[k], g.part[k], f);
          q.part[k] = g.part[k] * ((v.part[k] - n.mean) * n.inverse);
        }
        store_some(to + whole, g, rest);
        g = keep(g, rest), q = keep(q, rest);
        for (int k = 0; k < kRegisters; ++k) a.part[k] += g.part[k], b.part[k] += q.part[k];
      }
      all += total(a);
      joint += total(b);
    }
  }
  *sum = all;
  *product = joint;
}

inline Reg centered(Reg dz, Reg x, const Norm& n, float scale, float mean_sum,
                    float mean_product) {
  return (dz - mean_sum - ((x - n.mean) * n.inverse) * mean_product) * scale;
}

void backward(const Channel& c, const Norm& n, const float* x, float mean_sum, float mean_product,
              float* dx) {
  const float scale = n.gamma * n.inverse;
  const int64_t whole = c.pixels / kLanes * kLanes, rest = c.pixels - whole;
  for (int64_t image = 0; image < c.images; ++image) {
    const float* row = x + image * c.step;
    float* to = dx + image * c.step;
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Lanes v = load(row + i);
      Lanes g = load(to + i);
      for (int k = 0; k < kRegisters; ++k)
        g.part[k] = centered(g.part[k], v.part[k], n, scale, mean_sum, mean_product);
      store(to + i, g);
    }
    if (rest) {
      const Lanes v = load_some(row + whole, rest);
      Lanes g = load_some(to + whole, rest);
      for (int k = 0; k < kRegisters; ++k)
        g.part[k] = centered(g.part[k], v.part[k], n, scale, mean_sum, mean_product);
      store_some(to + whole, g, rest);
    }
  }
}
