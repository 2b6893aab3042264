/* Rules of guidance: two vectors p and q of each particle become A p + B q, where the coefficients
 * depend on their inner products. */
#ifndef GM_RULE_H
#define GM_RULE_H

#include "gm.h"
#include "product.h"
#include "vmath.h"

/* x / y, and `none` where y is 0 */
GM_INLINE vd gm_ratio(vd x, vd y, double none) {
  vu some = vless(vset(0), vabs(y));
  return vselect(some, x / vselect(some, y, vset(1)), vset(none));
}

/* Turns p away from q, in their plane, by `strength` times their angle, `most` at most. */
static void gm_turn(vd pp, vd pq, vd qq, double strength, double most, vd *A, vd *B) {
  double a[GM_VL], b[GM_VL], c[GM_VL];
  memcpy(a, &pp, sizeof pp);
  memcpy(b, &pq, sizeof pq);
  memcpy(c, &qq, sizeof qq);
  for (int l = 0; l < GM_VL; l++) {
    double sine = sqrt(fmax(a[l] * c[l] - b[l] * b[l], 0)), angle = atan2(sine, b[l]);
    double by = fmin(strength * angle, most), size = sqrt(a[l] * c[l]);
    int alike = !(sine > 0) || isinf(size);
    a[l] = alike ? 1 : sin(angle + by) / sin(angle);
    b[l] = alike ? 0 : -size / c[l] * sin(by) / sin(angle);
  }
  memcpy(A, a, sizeof a);
  memcpy(B, b, sizeof b);
}

/* The coefficients at one place. `inner`: <p,p>, <p,q>, <q,q>, |p - q|^2; `spread`: the first
 * three of their entries less the mean of these. */
GM_INLINE void gm_rule_coefficients(const double *c, const vd inner[4], const vd spread[3], vd *A,
                                    vd *B) {
  const vd one = vset(1), w = vset(c[1]), rest = vset(1 - c[1]);
  vd pp = inner[0], pq = inner[1], qq = inner[2], f = one;
  if ((int)c[0] == GM_RULE_ADG || (int)c[0] == GM_RULE_TCFG) { /* their products overflow */
    vd most = vmax(pp, qq);
    pp = gm_ratio(pp, most, 0);
    pq = gm_ratio(pq, most, 0);
    qq = gm_ratio(qq, most, 0);
  }
  *A = w;
  *B = rest;
  switch ((gm_rule)(int)c[0]) {
    case GM_RULE_APG:
      if (c[3] < INFINITY) f = vmin(one, gm_ratio(vset(c[3]), vsqrt(qq), 1));
      f *= w;
      *A = one - f * vset(1 - c[2]) * gm_ratio(pq, pp, 0);
      *B = f;
      break;
    case GM_RULE_CFG_ZERO:
      *A *= vset(c[2]);
      *B *= gm_ratio(pq, qq, 0) * vset(c[2]);
      break;
    case GM_RULE_RESCALE: {
      vd was = spread[0];
      vd is = w * w * spread[0] + vset(2) * w * rest * spread[1] + rest * rest * spread[2];
      f = vset(1 - c[2]) + vset(c[2]) * vsqrt(gm_ratio(was, vmax(is, vset(0)), 1));
      break;
    }
    case GM_RULE_NORM: {
      vd is = w * w * pp + vset(2) * w * rest * pq + rest * rest * qq;
      f = vset(c[2]) * vsqrt(gm_ratio(pp, vmax(is, vset(0)), 1));
      if (c[3] != 0) f = vmin(f, one);
      break;
    }
    case GM_RULE_MAMBO: {
      vd part = vexp(vmax(-vset(c[2]) * vsqrt(gm_ratio(inner[3], qq, DBL_MAX)), vset(-700)));
      *A = one + w * part;
      *B = -w * part;
      break;
    }
    case GM_RULE_ADG: gm_turn(pp, pq, qq, c[1], c[2], A, B); break;
    case GM_RULE_TCFG: {
      /* of the longest direction of (p, q), in which it is x p + y q */
      vd half = (pp - qq) * vset(0.5), root = vsqrt(half * half + pq * pq);
      vu p_longer = vless(qq, pp);
      vd x = vselect(p_longer, root + half, pq), y = vselect(p_longer, pq, root - half);
      vd size = x * x + y * y;
      *A = w + rest * gm_ratio(x * y, size, 0);
      *B = rest * gm_ratio(y * y, size, 1);
      break;
    }
    case GM_RULE_PERP_NEG:
      *A = w + w * vset(c[2]) * gm_ratio(pq, pp, 0);
      *B = -w * vset(c[2]);
      break;
    default: break; /* those that remember: see below */
  }
  if ((int)c[0] == GM_RULE_RESCALE || (int)c[0] == GM_RULE_NORM) {
    *A *= f;
    *B *= f;
  }
}

/* The coefficients of rules that remember a number, and the number for the next time. */
GM_INLINE void gm_rule_remember(const double *c, const vd inner[4], double *memory, vd *A, vd *B) {
  const double least_q = -13.815510557964274, most_ratio = 3; /* log(1e-6) and log L */
  vd eta = vset(c[1]), known = LD(memory);
  switch ((gm_rule)(int)c[0]) {
    case GM_RULE_ADAPTIVE: {
      vd cosine = gm_ratio(inner[1], vsqrt(inner[0]) * vsqrt(inner[2]), 1);
      vu over = vless(vset(c[2]), cosine) | vless(vset(0), known);
      AT(memory) = vselect(over, vset(1), vset(0));
      eta = vselect(over, vset(0), vset(c[1] - 1));
      break;
    }
    case GM_RULE_FEEDBACK:
      AT(memory) = known = vmin(vmax(known, vset(c[3])), vset(most_ratio));
      eta *= vset(1 - c[2]) / (vexp(known) - vset(1 - c[2]));
      break;
    case GM_RULE_AWAY: {
      AT(memory) = known = vmin(vmax(known, vset(least_q)), vset(c[3]));
      vd q = vexp(known);
      eta *= -(vset(1) + vset(c[2]) * q / (vset(1) - q));
      break;
    }
    default: break;
  }
  *A = vset(1) + eta;
  *B = -eta;
}

/* p <- A p + B q, for vectors of d rows; c: which rule, and its parameters; memory: d rows, all 0
 * when a run begins. */
static GM_NOINLINE void gm_rule_apply(const double *c, size_t d, size_t lanes, double *p,
                                      const double *q, double *memory) {
  int rule = (int)c[0];
  for (size_t v = 0; rule == GM_RULE_ESTIMATE && v < lanes; v += GM_VL) {
    vd sum = vset(0);
    for (size_t j = 0; j < d; j++) {
      vd m = LD(ROW(memory, j) + v);
      sum += (LD(ROW(q, j) + v) - vset(c[3]) * m) * m;
    }
    AT(p + v) += vset(c[1]) + vset(c[2]) * sum;
  }
  for (size_t v = 0; rule != GM_RULE_ESTIMATE && v < lanes; v += GM_VL) {
    vd inner[4] = {vset(0), vset(0), vset(0), vset(0)}, spread[3] = {vset(0), vset(0), vset(0)};
    vd p_mean = vset(0), q_mean = vset(0), A, B;
    for (size_t j = 0; j < d; j++) {
      vd x = LD(ROW(p, j) + v), y = LD(ROW(q, j) + v), z = x - y;
      inner[0] += x * x;
      inner[1] += x * y;
      inner[2] += y * y;
      inner[3] += z * z;
      p_mean += x;
      q_mean += y;
    }
    p_mean *= vset(1 / (double)d);
    q_mean *= vset(1 / (double)d);
    for (size_t j = 0; rule == GM_RULE_RESCALE && j < d; j++) {
      vd x = LD(ROW(p, j) + v) - p_mean, y = LD(ROW(q, j) + v) - q_mean;
      spread[0] += x * x;
      spread[1] += x * y;
      spread[2] += y * y;
    }
    if (rule < GM_RULE_ADAPTIVE) {
      gm_rule_coefficients(c, inner, spread, &A, &B);
    } else {
      gm_rule_remember(c, inner, memory + v, &A, &B);
    }
    for (size_t j = 0; j < d; j++) {
      AT(ROW(p, j) + v) = A * LD(ROW(p, j) + v) + B * LD(ROW(q, j) + v);
    }
  }
}

#endif
