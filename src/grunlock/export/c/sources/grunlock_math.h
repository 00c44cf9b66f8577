/* exp, tanh, sigmoid, log and square root in single precision, without libm and without a branch, so that loops over
   them become vector instructions. Largest errors against the true value, in units in the last place (ulp):

     exp      1.5 ulp   from -87 to 88; held at the ends beyond
     sigmoid  2.5 ulp   from -87 on; below it stays at sigmoid(-87), which is 2e-38
     tanh     2.5 ulp   everywhere
     log      1 ulp     of normal numbers above 0
     sqrt     1 ulp     of normal numbers above 0; sqrt(0) is 0

   For finite numbers; not to be compiled with -ffast-math, which takes the rounding apart. */
#ifndef GRUNLOCK_MATH_H
#define GRUNLOCK_MATH_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__)
#error "compile without -ffast-math"
#endif
#if FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "floats are computed as something longer: on 32-bit x86, compile with -msse2 -mfpmath=sse"
#endif

static inline float grunlock_float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint32_t grunlock_bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float grunlock_abs(float x) { return grunlock_float_of_bits(grunlock_bits_of_float(x) & 0x7fffffffu); }

/* The nearest whole number to x, |x| < 2^22: beyond 1.5 * 2^23 a float has no fraction. */
static inline float grunlock_nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

/* 2 to a whole power from -126 to 127. */
static inline float grunlock_power_of_two(float power) {
  return grunlock_float_of_bits((uint32_t)((int32_t)power + 127) << 23);
}

/* exp(x) = 2^power * (1 + fraction), |fraction| < 0.42. */
static inline float grunlock_exp_power(float x) { return grunlock_nearest(x * 1.44269504088896341f); }

static inline float grunlock_exp_fraction(float x, float power) {
  /* ln 2 in two parts; the first ends in 11 zero bits, so that its product with a power is exact */
  const float r = (x - power * 0.693145751953125f) - power * 1.42860682030941723e-6f;
  /* Taylor: the first term left out is below 2^-25 of r for |r| <= ln(2) / 2 */
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  return r + (r * r) * p;
}

static inline float grunlock_exp(float x) {
  float power;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  power = grunlock_exp_power(x);
  return grunlock_power_of_two(power) * (1.0f + grunlock_exp_fraction(x, power));
}

/* 1 / (1 + exp(-x)), through exp(-|x|) so that small results keep their precision. */
static inline float grunlock_sigmoid(float x) {
  const float e = grunlock_exp(-grunlock_abs(x));
  return (x < 0.0f ? e : 1.0f) / (e + 1.0f);
}

/* Through exp(2 |x|) - 1, which near 0 is exact in relative terms. */
static inline float grunlock_tanh(float x) {
  float twice = 2.0f * grunlock_abs(x), power, scale, e;
  twice = twice > 20.0f ? 20.0f : twice; /* tanh(10) rounds to 1 */
  power = grunlock_exp_power(twice);
  scale = grunlock_power_of_two(power);
  e = scale * grunlock_exp_fraction(twice, power) + (scale - 1.0f);
  e = e / (e + 2.0f);
  return grunlock_float_of_bits(grunlock_bits_of_float(e) | (grunlock_bits_of_float(x) & 0x80000000u));
}

/* Polynomial of Cephes' logf (Moshier) on [sqrt(1/2), sqrt(2)). */
static inline float grunlock_log(float x) {
  const uint32_t bits = grunlock_bits_of_float(x) + (0x3f800000u - 0x3f3504f3u);
  const float power = (float)((int32_t)(bits >> 23) - 127);
  const float m = grunlock_float_of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  const float square = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * square + power * 1.42860682030941723e-6f;
  p = p - 0.5f * square;
  return (m + p) + power * 0.693145751953125f;
}

/* x times Newton's 1 / sqrt(x), and one more step on the root itself. */
static inline float grunlock_sqrt(float x) {
  float y = grunlock_float_of_bits(0x5f375a86u - (grunlock_bits_of_float(x) >> 1)), root;
  y = y * (1.5f - 0.5f * x * y * y);
  y = y * (1.5f - 0.5f * x * y * y);
  y = y * (1.5f - 0.5f * x * y * y);
  root = x * y;
  return root + 0.5f * y * (x - root * root);
}

/* A finite number in half precision. 2^112 is how far the two kinds of exponents are apart. */
static inline float grunlock_half(uint16_t half) {
  return grunlock_float_of_bits((half & 0x8000u) << 16 | (half & 0x7fffu) << 13) * 5.192296858534828e33f;
}

/* sum += value, where rest holds what rounding took from the sum so far (Kahan 1965). */
static inline void grunlock_add(float *sum, float *rest, float value) {
  const float wanted = value - *rest;
  const float found = *sum + wanted;
  *rest = (found - *sum) - wanted;
  *sum = found;
}

#endif
