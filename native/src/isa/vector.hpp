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

// As store, past the caches; p must be aligned to the vector. Seen by other threads after finish_past_caches.
GRUNLOCK_INLINE void store_past_caches(float* p, Floats v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, reinterpret_cast<__m512>(v));
#elif defined(__AVX2__)
  _mm256_stream_ps(p, reinterpret_cast<__m256>(v));
#else
  store(p, v);
#endif
}

GRUNLOCK_INLINE void finish_past_caches() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// Asks for `count` floats from p on to be in the level 2 cache.
GRUNLOCK_INLINE void prefetch_floats(const float* p, int64_t count) {
  constexpr int64_t kLineFloats = 16;
  for (int64_t i = 0; i < count; i += kLineFloats) {
    __builtin_prefetch(p + i, 1, 2);
  }
}

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

// Lanes in another order, known to the compiler: in a table, since it would build a vector of them lane by lane.
struct LaneOrder {
  template <class Lane>
  constexpr explicit LaneOrder(Lane lane) : lanes() {
    for (int i = 0; i < kLanes; ++i) {
      lanes[i] = lane(i);
    }
  }

  GRUNLOCK_INLINE Ints load() const {
    Ints v;
    std::memcpy(&v, lanes, sizeof v);
    return v;
  }

  int32_t lanes[kLanes];
};

template <int half>
GRUNLOCK_INLINE Floats add_halves(Floats v) {
  if constexpr (half > 0) {
    static constexpr LaneOrder kOther([](int lane) { return (lane + half) % kLanes; });
    return add_halves<half / 2>(v + shuffle(v, v, kOther.load()));
  } else {
    return v;
  }
}

GRUNLOCK_INLINE float sum(Floats v) { return add_halves<kLanes / 2>(v)[0]; }

// Vectors that gates are computed for at a time. Each by itself is one long chain of instructions that wait for each other;
// side by side, step by step, they fill the time. As many as the registers hold.
#if GRUNLOCK_LANES == 16 || defined(__aarch64__)
constexpr int kAtOnce = 4;
#else
constexpr int kAtOnce = 2;
#endif

// step(0), ..., step(n - 1).
template <int n, class Step>
GRUNLOCK_INLINE void each(const Step& step) {
#pragma GCC unroll 8
  for (int j = 0; j < n; ++j) {
    step(j);
  }
}

// x * 2^exponent, rounded once; exponent is a whole number from -150 to 127.
GRUNLOCK_INLINE Floats scale_by(Floats x, Floats exponent) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(x),
                                                         reinterpret_cast<__m512>(exponent)));
#else
  const Floats kRound = splat(12582912.0f);
  const Ints whole = as_ints(exponent + kRound) - as_ints(kRound);
  const Ints half = whole >> 1;  // 2^-150 is no float, its root is
  return (x * as_floats((half + 127) << 23)) * as_floats((whole - half + 127) << 23);
#endif
}

// exp(x) = 2^exponent * (1 + fraction), |fraction| < 0.42, for |x| <= 104; NaN stays NaN in fraction.
template <int n>
GRUNLOCK_INLINE void split_exp(const Floats* x, Floats* fraction, Floats* exponent) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693145751953125f;  // 11 trailing zero bits: exponent * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723e-6f;
  // Taylor: the first term left out is below 2^-25 of r for |r| <= ln(2) / 2.
  constexpr float kTerms[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f};
  const Floats kRound = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  Floats r[n], p[n];
  each<n>([&](int j) { exponent[j] = x[j] * kLog2E + kRound; });
  each<n>([&](int j) { exponent[j] = exponent[j] - kRound; });
  each<n>([&](int j) { r[j] = x[j] - exponent[j] * kLn2High; });
  each<n>([&](int j) { r[j] = r[j] - exponent[j] * kLn2Low; });
  each<n>([&](int j) { p[j] = splat(1.0f / 5040.0f); });
#pragma GCC unroll 8
  for (const float term : kTerms) {
    each<n>([&](int j) { p[j] = p[j] * r[j] + term; });
  }
  each<n>([&](int j) { fraction[j] = r[j] + (r[j] * r[j]) * p[j]; });
}

// 1 / (1 + exp(-x)) in place. Through exp(-|x|), so that small results keep their relative precision down to denormals.
template <int n>
GRUNLOCK_INLINE void sigmoid(Floats* x) {
  const Floats one = splat(1.0f);
  const Floats lowest = splat(-104.0f);  // exp(-104) is 0 in float
  Floats e[n], fraction[n], exponent[n];
  each<n>([&](int j) { e[j] = -absolute(x[j]); });
  each<n>([&](int j) { e[j] = e[j] < lowest ? lowest : e[j]; });  // a comparison that NaN survives
  split_exp<n>(e, fraction, exponent);
  each<n>([&](int j) { e[j] = scale_by(fraction[j] + one, exponent[j]); });
  each<n>([&](int j) { x[j] = (x[j] < splat(0.0f) ? e[j] : one) / (e[j] + one); });
}

// In place. Through expm1(2 |x|), exact in relative terms near 0.
template <int n>
GRUNLOCK_INLINE void tanh(Floats* x) {
  const Floats one = splat(1.0f);
  const Floats highest = splat(20.0f);  // tanh(10) rounds to 1
  Floats e[n], fraction[n], scale[n];
  each<n>([&](int j) { e[j] = absolute(x[j]) * 2.0f; });
  each<n>([&](int j) { e[j] = e[j] > highest ? highest : e[j]; });
  split_exp<n>(e, fraction, scale);
  each<n>([&](int j) { scale[j] = scale_by(one, scale[j]); });
  each<n>([&](int j) { e[j] = scale[j] * fraction[j] + (scale[j] - one); });
  each<n>([&](int j) {
    const Floats y = e[j] / (e[j] + 2.0f);
    x[j] = as_floats(as_words(y) | (as_words(x[j]) & splat_word(0x80000000u)));
  });
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

// 1 in the first `count` lanes, else 0.
GRUNLOCK_INLINE Floats first_lanes(int64_t count) {
  return lane_numbers() < splat_word(static_cast<uint32_t>(count)) ? splat(1.0f) : splat(0.0f);
}

}  // namespace grunlock::GRUNLOCK_ISA
