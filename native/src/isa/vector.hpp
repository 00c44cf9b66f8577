// Vectors of 32-bit lanes in compiler extensions, and the functions of gates on them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#define GRUNLOCK_LANES 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define GRUNLOCK_LANES 8
#else
#define GRUNLOCK_LANES 4
#endif

#define GRUNLOCK_INLINE inline __attribute__((always_inline))

namespace grunlock::GRUNLOCK_ISA {

constexpr int kLanes = GRUNLOCK_LANES;

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

GRUNLOCK_INLINE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

GRUNLOCK_INLINE void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }

template <class Vector, class Scalar>
GRUNLOCK_INLINE Vector splat_as(Scalar x) {
#if GRUNLOCK_LANES == 16
  return Vector{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif GRUNLOCK_LANES == 8
  return Vector{x, x, x, x, x, x, x, x};
#else
  return Vector{x, x, x, x};
#endif
}

GRUNLOCK_INLINE Floats splat(float x) { return splat_as<Floats>(x); }
GRUNLOCK_INLINE Words splat_word(uint32_t x) { return splat_as<Words>(x); }

// The first `count` lanes of p, zero behind them; any count, p is not read where there is none.
GRUNLOCK_INLINE Floats load_first(const float* p, int64_t count) {
  if (count >= kLanes) {
    return load(p);
  }
  Floats v = splat(0.0f);
  for (int64_t lane = 0; lane < count; ++lane) {
    v[lane] = p[lane];
  }
  return v;
}

GRUNLOCK_INLINE void store_first(float* p, Floats v, int64_t count) {
  if (count >= kLanes) {
    store(p, v);
  } else {
    for (int64_t lane = 0; lane < count; ++lane) {
      p[lane] = v[lane];
    }
  }
}

GRUNLOCK_INLINE Floats as_floats(Ints v) { return reinterpret_cast<Floats>(v); }
GRUNLOCK_INLINE Floats as_floats(Words v) { return reinterpret_cast<Floats>(v); }
GRUNLOCK_INLINE Ints as_ints(Floats v) { return reinterpret_cast<Ints>(v); }
GRUNLOCK_INLINE Words as_words(Floats v) { return reinterpret_cast<Words>(v); }

GRUNLOCK_INLINE Floats absolute(Floats x) { return as_floats(as_words(x) & splat_word(0x7fffffffu)); }

// Lane i of the result is lane order[i] of a and b one behind the other.
GRUNLOCK_INLINE Floats shuffle(Floats a, Floats b, Ints order) {
#if defined(__clang__)
  Floats result;
  for (int lane = 0; lane < kLanes; ++lane) {
    result[lane] = order[lane] < kLanes ? a[order[lane]] : b[order[lane] - kLanes];
  }
  return result;
#else
  return __builtin_shuffle(a, b, order);
#endif
}

GRUNLOCK_INLINE float sum(Floats v) {
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
    Ints order;
    for (int lane = 0; lane < kLanes; ++lane) {
      order[lane] = (lane + half) % kLanes;
    }
    v = v + shuffle(v, v, order);
  }
  return v[0];
}

// exp(x) = 2^exponent * (1 + fraction), |fraction| < 0.42, for |x| <= 104; NaN stays NaN in fraction.
struct SplitExp {
  Floats fraction;
  Ints exponent;
};

GRUNLOCK_INLINE SplitExp split_exp(Floats x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693145751953125f;  // 11 trailing zero bits: exponent * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723e-6f;
  const Floats kRound = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Floats shifted = x * kLog2E + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * kLn2High) - n * kLn2Low;
  // Taylor: the first term left out is below 2^-25 of r for |r| <= ln(2) / 2.
  Floats p = splat(1.0f / 5040.0f);
  p = p * r + (1.0f / 720.0f);
  p = p * r + (1.0f / 120.0f);
  p = p * r + (1.0f / 24.0f);
  p = p * r + (1.0f / 6.0f);
  p = p * r + 0.5f;
  return {r + (r * r) * p, as_ints(shifted) - as_ints(kRound)};
}

GRUNLOCK_INLINE Floats power_of_two(Ints exponent) { return as_floats((exponent + 127) << 23); }

// 1 / (1 + exp(-x)). Through exp(-|x|), so that small results keep their relative precision down to denormals.
GRUNLOCK_INLINE Floats sigmoid(Floats x) {
  Floats a = -absolute(x);
  a = a < splat(-104.0f) ? splat(-104.0f) : a;  // exp(-104) is 0 in float; a comparison that NaN survives
  const SplitExp split = split_exp(a);
  const Ints half = split.exponent >> 1;  // 2^-150 is no float, its root is
  const Floats e = ((split.fraction + 1.0f) * power_of_two(half)) * power_of_two(split.exponent - half);
  return (x < splat(0.0f) ? e : splat(1.0f)) / (e + 1.0f);
}

// Through expm1(2 |x|), exact in relative terms near 0.
GRUNLOCK_INLINE Floats tanh(Floats x) {
  Floats a = absolute(x) * 2.0f;
  a = a > splat(20.0f) ? splat(20.0f) : a;  // tanh(10) rounds to 1
  const SplitExp split = split_exp(a);
  const Floats scale = power_of_two(split.exponent);
  const Floats e = scale * split.fraction + (scale - 1.0f);
  const Floats y = e / (e + 2.0f);
  return as_floats(as_words(y) | (as_words(x) & splat_word(0x80000000u)));
}

// bfloat16 bits of x, rounded to nearest even, NaN kept.
GRUNLOCK_INLINE Halves to_bfloat16(Floats x) {
#if defined(__AVX512BF16__)
  const __m256bh halves = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  Halves result;
  std::memcpy(&result, &halves, sizeof result);
  return result;
#else
  const Words bits = as_words(x);
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  const auto is_nan = x != x;
  return __builtin_convertvector(is_nan ? quiet : rounded, Halves);
#endif
}

GRUNLOCK_INLINE Words mix(Words x) {  // lowbias32 (C. Wellons)
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

GRUNLOCK_INLINE uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

GRUNLOCK_INLINE Words lane_numbers() {
  Words v;
  for (int lane = 0; lane < kLanes; ++lane) {
    v[lane] = static_cast<uint32_t>(lane);
  }
  return v;
}

}  // namespace grunlock::GRUNLOCK_ISA
