/* Vectors of GM_VL doubles on GCC/Clang vector types. The including file sets GM_VL (and the target
 * by a pragma); a compiler without vector types gets GM_VL = 1 and plain loops. All functions are
 * static inline: this header and those built on it are compiled once for each instruction set, and
 * no vector is an argument of a function that is not inlined. */
#ifndef GM_SIMD_H
#define GM_SIMD_H

/* The x87 computes with 80 bits, which 32-bit Debian's flags select; the rounding tricks of vmath.h
 * would fail. */
#if defined(__i386__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("sse2,fpmath=sse")
#endif

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) && GM_VL != 1
#error "vector types need GCC or Clang"
#endif

#if defined(__FAST_MATH__) || \
  (!defined(__SSE2_MATH__) && (FLT_EVAL_METHOD > 1 || defined(__i386__)))
#error "the core needs doubles as they are: no -ffast-math; on 32-bit x86 -msse2 -mfpmath=sse"
#endif

#if GM_VL > 2 || (GM_VL == 2 && defined(__FMA__))
#include <immintrin.h>
#elif GM_VL == 2 && defined(__SSE2__)
#include <emmintrin.h>
#elif GM_VL == 2 && defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef GM_UNROLL
#if defined(__clang__)
#define GM_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define GM_UNROLL _Pragma("GCC unroll 8") /* otherwise -O2 keeps arrays of vectors in memory */
#else
#define GM_UNROLL
#endif
#endif

#if defined(__GNUC__)
#define GM_INLINE static inline __attribute__((always_inline, unused))
#define GM_NOINLINE __attribute__((noinline))
#else
#define GM_INLINE static inline
#define GM_NOINLINE
#endif

#if GM_VL == 1
typedef double vd;
typedef int64_t vi;
typedef uint64_t vu;
#else
/* aligned(8): R's vectors are aligned to 16 bytes only. A stack slot with 8-byte alignment is also
 * safe with a compiler that keeps a 16-byte stack (64-bit Windows). */
typedef double vd __attribute__((vector_size(8 * GM_VL), aligned(8), may_alias));
typedef int64_t vi __attribute__((vector_size(8 * GM_VL), aligned(8), may_alias));
typedef uint64_t vu __attribute__((vector_size(8 * GM_VL), aligned(8), may_alias));
#endif

/* Bits of a vector, read as another type. */
GM_INLINE vi vi_of(vd x) { vi y; memcpy(&y, &x, sizeof y); return y; }
GM_INLINE vu vu_of(vd x) { vu y; memcpy(&y, &x, sizeof y); return y; }
GM_INLINE vd vd_of(vu x) { vd y; memcpy(&y, &x, sizeof y); return y; }

GM_INLINE vd vset(double a) {
#if GM_VL == 8
  return (vd){a, a, a, a, a, a, a, a};
#elif GM_VL == 4
  return (vd){a, a, a, a};
#elif GM_VL == 2
  return (vd){a, a};
#else
  return a;
#endif
}

/* Masks: all bits set where the comparison holds. */
GM_INLINE vu vless(vd a, vd b) {
#if GM_VL == 1
  return a < b ? ~(uint64_t)0 : 0;
#else
  return (vu)(a < b);
#endif
}
GM_INLINE vd vselect(vu mask, vd yes, vd no) {
  return vd_of((vu_of(yes) & mask) | (vu_of(no) & ~mask));
}
/* Does the comparison hold in any lane? */
GM_INLINE int vany(vu mask) {
#if GM_VL == 1
  return mask != 0;
#else
  uint64_t any = 0;
  for (int i = 0; i < GM_VL; i++) any |= mask[i];
  return any != 0;
#endif
}
GM_INLINE vd vabs(vd a) { return vd_of(vu_of(a) & 0x7fffffffffffffffULL); }

/* The larger, and the smaller. A NaN in the first argument stays. */
GM_INLINE vd vmax(vd a, vd b) {
#if GM_VL == 8
  return (vd)_mm512_max_pd((__m512d)b, (__m512d)a);
#elif GM_VL == 4
  return (vd)_mm256_max_pd((__m256d)b, (__m256d)a);
#elif GM_VL == 2 && defined(__SSE2__)
  return (vd)_mm_max_pd((__m128d)b, (__m128d)a);
#else
  return vselect(vless(a, b), b, a);
#endif
}
GM_INLINE vd vmin(vd a, vd b) { return -vmax(-a, -b); }

/* a b + c, rounded once if the instruction set can. The fused form is explicit, because a
 * compiler's choice to fuse depends on the code around the product and sum. */
GM_INLINE vd vfma(vd a, vd b, vd c) {
#if GM_VL == 8
  return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif GM_VL == 4
  return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif GM_VL == 2 && defined(__FMA__)
  return (vd)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c);
#elif GM_VL == 2 && defined(__aarch64__)
  return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

GM_INLINE vd vsqrt(vd a) {
#if GM_VL == 8
  return (vd)_mm512_sqrt_pd((__m512d)a);
#elif GM_VL == 4
  return (vd)_mm256_sqrt_pd((__m256d)a);
#elif GM_VL == 2 && defined(__SSE2__)
  return (vd)_mm_sqrt_pd((__m128d)a);
#elif GM_VL == 2 && defined(__aarch64__)
  return (vd)vsqrtq_f64((float64x2_t)a);
#else
  double lane[GM_VL];
  memcpy(lane, &a, sizeof a);
  for (int i = 0; i < GM_VL; i++) lane[i] = sqrt(lane[i]);
  memcpy(&a, lane, sizeof a);
  return a;
#endif
}

#endif
