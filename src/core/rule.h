/* Rules of guidance: two vectors p and q of each particle become A p + B q. The coefficients depend
 * on their inner products. */
#ifndef GM_RULE_H
#define GM_RULE_H

#include "gm.h"
#include "product.h"
#include "vmath.h"

/* A power of two that brings x >= 0 near 1, without a division: products of four may overflow. */
GM_INLINE vd gm_near_one(vd x) {
  vu exponent = vu_of(vmin(x, vset(1e300))) & 0x7ff0000000000000ULL;
  return vd_of(0x7fe0000000000000ULL - exponent);
}

/* The inner products of p and q at one place. z = p - q has its own, because a difference of
 * products has few digits where p and q are nearly alike. The list also has <p,p>, <p,q> and <q,q>
 * of the entries less their mean. */
typedef struct { vd pp, pq, qq, pz, zz, spread[3]; } gm_gram;

/* Turns p away from q, in their plane, by `strength` times the angle between them, at most by
 * `most`. */
GM_INLINE void gm_turn(const gm_gram *of, double strength, double most, vd *A, vd *B) {
  vd scale = gm_near_one(vmax(of->pp, of->qq));
  vd pp = of->pp * scale, pq = of->pq * scale, pz = of->pz * scale;
  vd area = vsqrt(vmax(pp * (of->zz * scale) - pz * pz, vset(0)));
  vu apart = vless(vset(0), area); /* false if p and q are alike, or not finite */
  vd sine, cosine, by = vmin(vset(strength) * vangle(area, pq), vset(most));
  vsincos2pi(by * vset(0.15915494309189535), &sine, &cosine);
  sine /= vselect(apart, area, vset(1));
  *A = vselect(apart, cosine + sine * pq, vset(1));
  *B = vselect(apart, -sine * pp, vset(0));
}

/* The coefficients A and B at one place. */
GM_INLINE void gm_rule_coefficients(const int rule, const double *c, const gm_gram *of, vd *A,
                                    vd *B) {
  const vd one = vset(1), w = vset(c[1]), rest = vset(1 - c[1]);
  vd f = one;
  *A = w;
  *B = rest;
  switch ((gm_rule)rule) {
    case GM_RULE_APG:
      if (c[3] < INFINITY) f = vmin(one, gm_ratio(vset(c[3]), vsqrt(of->zz), 1));
      f *= w;
      *A = one + f * (one - vset(1 - c[2]) * gm_ratio(of->pz, of->pp, 0));
      *B = -f;
      break;
    case GM_RULE_CFG_ZERO:
      *A *= vset(c[2]);
      *B *= gm_ratio(of->pq, of->qq, 0) * vset(c[2]);
      break;
    case GM_RULE_RESCALE: {
      const vd *s = of->spread;
      vd is = w * w * s[0] + vset(2) * w * rest * s[1] + rest * rest * s[2];
      f = vset(1 - c[2]) + vset(c[2]) * vsqrt(gm_ratio(s[0], vmax(is, vset(0)), 1));
      break;
    }
    case GM_RULE_NORM: {
      vd is = w * w * of->pp + vset(2) * w * rest * of->pq + rest * rest * of->qq;
      f = vset(c[2]) * vsqrt(gm_ratio(of->pp, vmax(is, vset(0)), 1));
      if (c[3] != 0) f = vmin(f, one);
      break;
    }
    case GM_RULE_MAMBO: {
      vd part = vexp(vmax(-vset(c[2]) * vsqrt(gm_ratio(of->zz, of->qq, DBL_MAX)), vset(-700)));
      *A = one + w * part;
      *B = -w * part;
      break;
    }
    case GM_RULE_ADG: gm_turn(of, c[1], c[2], A, B); break;
    case GM_RULE_TCFG: {
      /* the longest direction of (p, q) is x p + y q */
      vd scale = gm_near_one(vmax(of->pp, of->qq)), pq = of->pq * scale;
      vd half = (of->pp * scale - of->qq * scale) * vset(0.5);
      vd root = vsqrt(half * half + pq * pq);
      vu p_longer = vless(of->qq, of->pp);
      vd x = vselect(p_longer, root + half, pq), y = vselect(p_longer, pq, root - half);
      /* both are 0 where p and q are 0 */
      vd share = gm_ratio(rest * y, x * x + y * y, 0);
      *A = w + share * x;
      *B = share * y;
      break;
    }
    case GM_RULE_PERP_NEG:
      *A = w + w * vset(c[2]) * gm_ratio(of->pq, of->pp, 0);
      *B = -w * vset(c[2]);
      break;
    default: break; /* rules that remember: see below */
  }
  if (rule == GM_RULE_RESCALE || rule == GM_RULE_NORM) {
    *A *= f;
    *B *= f;
  }
}

/* The coefficients of rules that remember a number, and the next value of the number. */
GM_INLINE void gm_rule_remember(const int rule, const double *c, const gm_gram *of,
                                double *memory, vd *A, vd *B) {
  const double least_q = -13.815510557964274, most_ratio = 3; /* log(1e-6) and log L */
  vd eta = vset(c[1]), known = LD(memory);
  switch ((gm_rule)rule) {
    case GM_RULE_ADAPTIVE: {
      vd cosine = gm_ratio(of->pq, vsqrt(of->pp) * vsqrt(of->qq), 1);
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

/* The inner products of gm_gram that a rule uses. */
enum { GM_PP = 1, GM_PQ = 2, GM_QQ = 4, GM_PZ = 8, GM_ZZ = 16, GM_SPREAD = 32 };

GM_INLINE int gm_rule_needs(const int rule) {
  switch ((gm_rule)rule) {
    case GM_RULE_APG: return GM_PP | GM_PZ | GM_ZZ;
    case GM_RULE_CFG_ZERO: return GM_PQ | GM_QQ;
    case GM_RULE_RESCALE: return GM_SPREAD;
    case GM_RULE_MAMBO: return GM_QQ | GM_ZZ;
    case GM_RULE_ADG: return GM_PP | GM_PQ | GM_QQ | GM_PZ | GM_ZZ;
    case GM_RULE_FEEDBACK:
    case GM_RULE_AWAY: return 0;
    default: return GM_PP | GM_PQ | GM_QQ;
  }
}

/* The inner products in `need`, at one place. The vectors are by_x x + by_p p and by_x x + by_p q.
 * */
GM_INLINE void gm_gram_of(const int need, const int moved, const double *c, size_t d, size_t lanes,
                          const double *p, const double *q, const double *x, gm_gram *of) {
  const vd none = vset(0), share = vset(1 / (double)d), by_x = vset(c[4]), by_p = vset(c[5]);
  vd p_mean = none, q_mean = none;
  *of = (gm_gram){none, none, none, none, none, {none, none, none}};
  for (int centred = 0; centred <= (need & GM_SPREAD) / GM_SPREAD; centred++) {
    for (size_t j = 0; j < d; j++) {
      vd y = LD(ROW(p, j)), z = LD(ROW(q, j));
      if (moved) {
        vd start = by_x * LD(ROW(x, j));
        y = start + by_p * y;
        z = start + by_p * z;
      }
      if (centred) {
        y -= p_mean;
        z -= q_mean;
        of->spread[0] += y * y;
        of->spread[1] += y * z;
        of->spread[2] += z * z;
        continue;
      }
      if (need & GM_PP) of->pp += y * y;
      if (need & GM_PQ) of->pq += y * z;
      if (need & GM_QQ) of->qq += z * z;
      if (need & GM_PZ) of->pz += y * (y - z);
      if (need & GM_ZZ) of->zz += (y - z) * (y - z);
      if (need & GM_SPREAD) {
        p_mean += share * y;
        q_mean += share * z;
      }
    }
  }
}

/* Updates the running estimate: p[0] += c1 + c2 (<q, m> - c3 <m, m>), m: d rows. */
static void gm_rule_estimate(const double *c, size_t d, size_t lanes, double *p, const double *q,
                             const double *m) {
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd sum = vset(0);
    for (size_t j = 0; j < d; j++) {
      vd mj = LD(ROW(m, j) + v);
      sum += (LD(ROW(q, j) + v) - vset(c[3]) * mj) * mj;
    }
    AT(p + v) += vset(c[1]) + vset(c[2]) * sum;
  }
}

/* The rows of gm_rule_apply(), for one rule. `moved`: with x; else c4 .. c7 are 0, 1, 0, 1. */
GM_INLINE void gm_rule_rows(const int rule, const int moved, const double *of_rule, size_t d,
                            size_t lanes, double *p, const double *q, double *x) {
  double c[GM_RULE_SIZE]; /* a copy, which the stores below do not touch: it stays in registers */
  memcpy(c, of_rule, sizeof c);
  const vd by_x = vset(c[6]), by_sum = vset(c[4] * c[7]), by_p = vset(c[5] * c[7]);
  for (size_t v = 0; v < lanes; v += GM_VL) {
    gm_gram of;
    vd A, B;
    gm_gram_of(gm_rule_needs(rule), moved, c, d, lanes, p + v, q + v, x + v, &of);
    if (rule >= GM_RULE_ADAPTIVE) {
      gm_rule_remember(rule, c, &of, x + v, &A, &B);
    } else {
      gm_rule_coefficients(rule, c, &of, &A, &B);
    }
    vd C = by_x + by_sum * (A + B);
    if (moved) {
      A *= by_p;
      B *= by_p;
    }
    for (size_t j = 0; j < d; j++) {
      vd sum = A * LD(ROW(p, j) + v) + B * LD(ROW(q, j) + v);
      if (moved) sum += C * LD(ROW(x, j) + v);
      AT(ROW(p, j) + v) = sum;
    }
  }
}

/* p <- c6 x + c7 (A p' + B q') for vectors of d rows, where the rule acts on p' = c4 x + c5 p and
 * q' = c4 x + c5 q. c0 .. c3 are the rule and its parameters. A rule that remembers has its memory
 * in x, d rows that are 0 when a run begins, and p' = p, q' = q. */
static GM_NOINLINE void gm_rule_apply(const double *c, size_t d, size_t lanes, double *p,
                                      const double *q, double *x) {
  int moved = c[4] != 0 || c[5] != 1 || c[6] != 0 || c[7] != 1;
  /* loops for each rule, because the choice costs as much as a rule */
  switch ((gm_rule)(int)c[0]) {
#define GM_RULE(rule)                                  \
  case rule:                                           \
    if (moved) {                                       \
      gm_rule_rows(rule, 1, c, d, lanes, p, q, x);     \
    } else {                                           \
      gm_rule_rows(rule, 0, c, d, lanes, p, q, x);     \
    }                                                  \
    break
#define GM_REMEMBERS(rule) \
  case rule: gm_rule_rows(rule, 0, c, d, lanes, p, q, x); break
    GM_RULE(GM_RULE_APG);
    GM_RULE(GM_RULE_CFG_ZERO);
    GM_RULE(GM_RULE_RESCALE);
    GM_RULE(GM_RULE_NORM);
    GM_RULE(GM_RULE_MAMBO);
    GM_RULE(GM_RULE_ADG);
    GM_RULE(GM_RULE_TCFG);
    GM_RULE(GM_RULE_PERP_NEG);
    GM_REMEMBERS(GM_RULE_ADAPTIVE);
    GM_REMEMBERS(GM_RULE_FEEDBACK);
    GM_REMEMBERS(GM_RULE_AWAY);
#undef GM_RULE
#undef GM_REMEMBERS
    case GM_RULE_ESTIMATE: gm_rule_estimate(c, d, lanes, p, q, x); break;
    case GM_RULES: break;
  }
}

#endif
