// How long a span is: four laws, each by inversion of one 32-bit word, so that every length has its probability to
// within 2^-32. The arithmetic is portable: CPU and GPU draw the same lengths.
#pragma once

#include "portable_double.h"
#include "sslfast/fairseq_span_mask.h"

namespace sslfast::fairseq_span {

// Numbers of a polynomial from the highest power to the constant.
template <int N>
SSLFAST_HD double polynomial(const double (&numbers)[N], double x) {
  double value = numbers[0];
  for (int i = 1; i < N; ++i) value = portable::add(portable::mul(value, x), numbers[i]);
  return value;
}

// The middle of the interval of a word: in [2^-33, 1 - 2^-33], exactly.
SSLFAST_HD double midpoint(uint32_t word) {
  return portable::mul(portable::add(static_cast<double>(word), 0.5), 1.0 / 4294967296.0);
}

// The standard normal deviate below which u of the mass lies, to about 1e-16 of it: Wichura, "Algorithm AS 241: The
// percentage points of the normal distribution", Applied Statistics 1988. Its branch for u below exp(-25) is left out,
// since no midpoint lies there.
SSLFAST_HD double normal_quantile(double u) {
  using namespace portable;
  const double q = sub(u, 0.5);
  if (q >= -0.425 && q <= 0.425) {
    const double above[] = {2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
                            13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080};
    const double below[] = {5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
                            5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0};
    const double r = sub(0.180625, mul(q, q));
    return mul(q, div(polynomial(above, r), polynomial(below, r)));
  }
  const double above[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                          1.27045825245236838258,    3.64784832476320460504,    5.76949722146069140550,
                          4.63033784615654529590,    1.42343711074968357734};
  const double below[] = {
      1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940,    2.05319162663775882187,    1.0};
  const double r = sub(square_root(-logarithm(q < 0 ? u : sub(1.0, u))), 1.6);
  const double deviate = div(polynomial(above, r), polynomial(below, r));
  return q < 0 ? -deviate : deviate;
}

// Probability of the mean of a Poisson law whose mean is an integer. From 32 on by Stirling's series, which leaves
// -log(2 pi mean) / 2 - 1 / (12 mean) + ... of the logarithm.
SSLFAST_HD double poisson_peak(int64_t mean) {
  using namespace portable;
  const double x = static_cast<double>(mean);
  if (mean < 32) {
    double p = exponential(-x);
    for (int64_t k = 1; k <= mean; ++k) p = div(mul(p, x), static_cast<double>(k));
    return p;
  }
  const double inverse = div(1.0, x);
  const double series[] = {1.0 / 1680.0, -1.0 / 1260.0, 1.0 / 360.0, -1.0 / 12.0};
  const double tail = mul(inverse, polynomial(series, mul(inverse, inverse)));
  return exponential(sub(tail, mul(0.5, logarithm(mul(x, 6.283185307179586)))));
}

// Inversion from the mean outwards: u is used up by the probabilities of mean, mean + 1, mean - 1, mean + 2, ... About
// the square root of the mean in steps; outside 8 of these and 64 there is less than 2^-33 of the mass.
SSLFAST_HD int64_t poisson_length(int64_t mean, double peak, double u) {
  using namespace portable;
  double left = sub(u, peak), up = peak, down = peak;
  const double x = static_cast<double>(mean);
  const int64_t reach = static_cast<int64_t>(mul(8.0, square_root(x))) + 64;
  for (int64_t step = 1; left >= 0 && step <= reach; ++step) {
    up = div(mul(up, x), static_cast<double>(mean + step));
    left = sub(left, up);
    if (left < 0) return mean + step;
    if (step > mean) continue;
    down = div(mul(down, static_cast<double>(mean - step + 1)), x);
    left = sub(left, down);
    if (left < 0) return mean - step;
  }
  return mean;
}

struct LengthLaw {
  SpanLength kind;
  int64_t mean, longest;  // longer ones count as long as a row
  double other, peak;
};

SSLFAST_HD LengthLaw length_law(const FairseqSpanMask& p) {
  const double peak = p.span_length == SpanLength::kPoisson ? poisson_peak(p.mask_length) : 0.0;
  return {p.span_length, p.mask_length, p.length, p.mask_other, peak};
}

SSLFAST_HD int64_t draw_length(const LengthLaw& law, uint32_t word) {
  int64_t length = law.mean;
  if (law.kind == SpanLength::kUniform) {
    const int64_t least = static_cast<int64_t>(law.other);
    length = least + uniform_below(word, static_cast<uint64_t>(2 * law.mean - least + 1));
  } else if (law.kind == SpanLength::kPoisson) {
    length = poisson_length(law.mean, law.peak, midpoint(word));
  } else if (law.kind == SpanLength::kNormal) {
    const double deviation = portable::mul(law.other, normal_quantile(midpoint(word)));
    const double drawn = portable::round_half_even(portable::add(static_cast<double>(law.mean), deviation));
    const double longest = static_cast<double>(law.longest);
    length = drawn < 1.0 ? 1 : drawn < longest ? static_cast<int64_t>(drawn) : law.longest;
  }
  return length < law.longest ? length : law.longest;
}

}  // namespace sslfast::fairseq_span
