/* exp, log and sin/cos of vectors. The polynomials interpolate at Chebyshev nodes; their errors
 * (5e-18, 1e-20, 5e-18 and 3e-20 in the order below) lie below the rounding error. */
#ifndef GM_VMATH_H
#define GM_VMATH_H

#include "simd.h"

/* Adding 1.5 * 2^52 rounds to the nearest integer, which then stands in the low bits. */
#define GM_ROUND 6755399441055744.0
#define GM_LN2_HI 0.69314717873930931091 /* last 24 bits zero: n * GM_LN2_HI is exact */
#define GM_LN2_LO 1.820635998504146224e-09

/* exp(x) for x <= 709; 0 for x < -690, so that a product with a weight is never denormal
 * (denormals would slow a softmax fivefold). */
GM_INLINE vd vexp(vd x) {
#if GM_VL == 8
  vd z = x; /* what comes of x < -690 is left out in the end */
#else
  vd z = vmax(x, vset(-690.0));
#endif
  vd t = z * vset(1.4426950408889634) + vset(GM_ROUND);
  vd n = t - vset(GM_ROUND);
  vd r = (z - n * vset(GM_LN2_HI)) - n * vset(GM_LN2_LO);
  vd q = vset(2.0914679595617734e-09);
  q = q * r + vset(2.5105206680681061e-08);
  q = q * r + vset(2.7557273660822466e-07);
  q = q * r + vset(2.7557255425009614e-06);
  q = q * r + vset(2.480158732553378e-05);
  q = q * r + vset(0.00019841269874801073);
  q = q * r + vset(0.0013888888888883752);
  q = q * r + vset(0.0083333333333261411);
  q = q * r + vset(0.041666666666666671);
  q = q * r + vset(0.16666666666666671);
  q = q * r + vset(0.5);
  vd p = (q * r) * r + r + vset(1.0);
#if GM_VL == 8
  __mmask8 in = _mm512_cmp_pd_mask((__m512d)x, (__m512d)vset(-690.0), _CMP_NLT_UQ);
  return (vd)_mm512_maskz_scalef_pd(in, (__m512d)p, (__m512d)n);
#else
  vd y = vd_of(vu_of(p) + (vu_of(t) << 52));
  return vd_of(vu_of(y) & ~vless(x, vset(-690.0)));
#endif
}

/* log(x) for normal finite x > 0. */
GM_INLINE vd vlog_normal(vd x) {
  const uint64_t sqrt_half = 0x3fe6a09e667f3bcdULL;
  vu b = vu_of(x) + (0x3ff0000000000000ULL - sqrt_half);
  vd m = vd_of((b & 0x000fffffffffffffULL) + sqrt_half); /* in [sqrt(1/2), sqrt(2)) */
  vd e = vd_of((b >> 52) + 0x4338000000000000ULL) - vset(GM_ROUND + 1023.0);
  vd f = m - vset(1.0);
  vd s = f / (m + vset(1.0));
  vd z = s * s, z2 = z * z, z4 = z2 * z2;
  /* in pairs, since each step of a chain waits for the one before */
  vd q = ((vset(0.13086767009948175) * z + vset(0.13268759668560612)) * z2 +
          (vset(0.15386240205813478) * z + vset(0.18181795630884753))) * z4 +
         ((vset(0.2222222239180047) * z + vset(0.28571428570803231)) * z2 +
          (vset(0.40000000000000879) * z + vset(0.66666666666666663)));
  /* log m = 2 atanh(s) = f - s (f - z q): the leading f is exact */
  return e * vset(GM_LN2_HI) + (f - (s * (f - z * q) - e * vset(GM_LN2_LO)));
}

/* log(x) for x >= 0; -Inf for zero and for denormal x; NaN for Inf and NaN. */
GM_INLINE vd vlog(vd x) {
  return vselect(vless(x, vset(2.2250738585072014e-308)), vset(-INFINITY),
                 vlog_normal(x) + (x - x));
}

/* sin and cos of 2 pi u, 0 <= u < 1; the reduction to [-pi/4, pi/4] is exact. */
GM_INLINE void vsincos2pi(vd u, vd *sine, vd *cosine) {
  vd t = u * vset(4.0) + vset(GM_ROUND);
  vd r = u * vset(4.0) - (t - vset(GM_ROUND));
  vd z = r * r;
  vd s = vset(5.633910598053464e-08);
  s = s * z + vset(-3.5986431935557502e-06);
  s = s * z + vset(0.00016044115070141775);
  s = s * z + vset(-0.0046817541323362181);
  s = s * z + vset(0.079692626246042758);
  s = s * z + vset(-0.64596409750624428);
  s = (s * z + vset(1.5707963267948966)) * r;
  vd c = vset(-6.3212308561851462e-09);
  c = c * z + vset(4.7106095153481178e-07);
  c = c * z + vset(-2.520203676375042e-05);
  c = c * z + vset(0.00091926027418210701);
  c = c * z + vset(-0.020863480763311126);
  c = c * z + vset(0.2536695079010467);
  c = c * z + vset(-1.2337005501361697);
  c = c * z + vset(1.0);
  vu q = vu_of(t);        /* quadrant */
  vu odd = -(q & 1);      /* sin and cos change places */
  *sine = vd_of(vu_of(vselect(odd, c, s)) ^ ((q & 2) << 62));
  *cosine = vd_of(vu_of(vselect(odd, s, c)) ^ (((q + 1) & 2) << 62));
}

#endif
