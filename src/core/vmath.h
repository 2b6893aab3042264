/* exp, log, sin/cos, angles and normal quantiles of vectors. The polynomials, except those of the
 * quantiles, interpolate at Chebyshev nodes. Their errors (5e-18, 1e-20, 5e-18, 3e-20 and 5e-18 in
 * the order below) lie below the rounding error. */
#ifndef GM_VMATH_H
#define GM_VMATH_H

#include "simd.h"

/* Adding 1.5 * 2^52 rounds to the nearest integer and leaves it in the low bits. */
#define GM_ROUND 6755399441055744.0
#define GM_LN2_HI 0.69314717873930931091 /* last 24 bits zero: n * GM_LN2_HI is exact */
#define GM_LN2_LO 1.820635998504146224e-09

/* x / y, or `none` if y is 0 */
GM_INLINE vd gm_ratio(vd x, vd y, double none) {
  vu some = vless(vset(0), vabs(y));
  return vselect(some, x / vselect(some, y, vset(1)), vset(none));
}

/* exp(x) for x <= 709; 0 for x < -690, so that a product with a weight is never denormal (denormals
 * slow a softmax fivefold). */
GM_INLINE vd vexp(vd x) {
#if GM_VL == 8
  vd z = x; /* results for x < -690 are masked at the end */
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
  /* in pairs, because each step of a chain waits for the one before */
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

/* sin and cos of 2 pi u, |u| < 2^48; the reduction to [-pi/4, pi/4] is exact. */
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

/* The angle between (1, 0) and (x, y), y >= 0, from 0 to pi. The angle of (0, 0) is 0. */
GM_INLINE vd vangle(vd y, vd x) {
  vd along = vabs(x);
  vu steep = vless(along, y), left = vless(x, vset(0));
  vd under = vselect(steep, y, along), over = vselect(steep, along, y);
  under = vselect(vless(vset(0), under), under, vset(1));
  /* angles beyond pi/8 are taken from pi/4 */
  vu wide = vless(vset(0.41421356237309503) * under, over);
  vd s = vselect(wide, over - under, over) / vselect(wide, over + under, under);
  vd z = s * s, z2 = z * z, z4 = z2 * z2;
  vd q = ((vset(-0.01917688711906226) * z + vset(0.03923165829558719)) * z +
          vset(-0.0508544973794026)) * (z4 * z4) +
         ((vset(0.0585814891280221) * z + vset(-0.06664511447381948)) * z2 +
          (vset(0.07692183190826087) * z + vset(-0.09090904578123903))) * z4 +
         ((vset(0.11111111015256361) * z + vset(-0.14285714284666542)) * z2 +
          (vset(0.1999999999999552) * z + vset(-0.3333333333333333)));
  vd angle = s + s * z * q;
  angle = vselect(wide, vset(0.78539816339744831) + angle, angle);
  angle = vselect(steep, vset(1.5707963267948966) - angle, angle);
  return vselect(left, vset(3.1415926535897931) - angle, angle);
}

/* Wichura's (1988, AS 241) PPND16: quotients of polynomials, with an error of 1e-16. */
GM_INLINE vd vpoly7(const double *c, vd x) {
  vd y = vset(c[7]);
  GM_UNROLL for (int i = 6; i >= 0; i--) y = vfma(y, x, vset(c[i]));
  return y;
}

/* The standard normal quantile of 0 < u < 1. */
GM_INLINE vd vquantile(vd u) {
  static const double middle[] = {3.3871328727963666080, 133.14166789178437745,
                                  1971.5909503065514427, 13731.693765509461125,
                                  45921.953931549871457, 67265.770927008700853,
                                  33430.575583588128105, 2509.0809287301226727},
                      middle_by[] = {1, 42.313330701600911252, 687.18700749205790830,
                                     5394.1960214247511077, 21213.794301586595867,
                                     39307.895800092710610, 28729.085735721942674,
                                     5226.4952788528545610},
                      side[] = {1.42343711074968357734, 4.63033784615654529590,
                                5.76949722146069140550, 3.64784832476320460504,
                                1.27045825245236838258, 0.241780725177450611770,
                                0.0227238449892691845833, 7.74545014278341407640e-4},
                      side_by[] = {1, 2.05319162663775882187, 1.67638483018380384940,
                                   0.689767334985100004550, 0.148103976427480074590,
                                   0.0151986665636164571966, 5.47593808499534494600e-4,
                                   1.05075007164441684324e-9},
                      far[] = {6.65790464350110377720, 5.46378491116411436990,
                               1.78482653991729133580, 0.296560571828504891230,
                               0.0265321895265761230930, 0.00124266094738807843860,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7},
                      far_by[] = {1, 0.599832206555887937690, 0.136929880922735805310,
                                  0.0148753612908506148525, 7.86869131145613259100e-4,
                                  1.84631831751005468180e-5, 1.42151175831644588870e-7,
                                  2.04426310338993978564e-15};
  vd q = u - vset(.5), p = vmin(u, vset(1) - u);
  vu inner = vless(vabs(q), vset(.425));
  vd z = vset(.180625) - q * q;
  vd r = vsqrt(-vlog_normal(p)), s = r - vset(1.6);
  vu beyond = vless(vset(5), r);
  vd over = vselect(inner, vabs(q) * vpoly7(middle, z), vpoly7(side, s));
  vd under = vselect(inner, vpoly7(middle_by, z), vpoly7(side_by, s));
  if (vany(beyond)) {
    vd t = r - vset(5);
    over = vselect(beyond, vpoly7(far, t), over);
    under = vselect(beyond, vpoly7(far_by, t), under);
  }
  vu sign = vu_of(q) & 0x8000000000000000ULL;
  return vd_of(vu_of(over / under) | sign);
}

#endif
