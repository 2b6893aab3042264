/* The sums of groups of components, and the models that mix them; see score.h. */
#ifndef GM_GROUPS_H
#define GM_GROUPS_H

#include "logits.h"
#include "vmath.h"

/* Takes `count` rows of logits into the sums of a group. The logits become e_k = exp(logit - top).
 * The caller multiplies older sums, relative to an older top, by the row `scale`. */
GM_INLINE void gm_absorb(double *e, int count, int older, size_t lanes, double *top, double *sum,
                         double *scale) {
  if (!older && count == 1) { /* exp is not needed: the value is exactly 1 */
    memcpy(top, e, sizeof(double) * lanes);
    for (size_t v = 0; v < lanes; v += GM_VL) AT(e + v) = AT(sum + v) = vset(1);
    return;
  }
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd m = LD(e + v);
    for (int k = 1; k < count; k++) m = vmax(m, LD(ROW(e, k) + v));
    if (older) {
      m = vmax(m, LD(top + v));
      AT(scale + v) = LD(top + v) - m;
    }
    AT(top + v) = m;
  }
  for (int k = 0; k < count; k++) {
    double *row = ROW(e, k);
    for (size_t v = 0; v < lanes; v += GM_VL) AT(row + v) = vexp(LD(row + v) - LD(top + v));
  }
  for (size_t v = 0; older && v < lanes; v += GM_VL) {
    AT(scale + v) = vexp(LD(scale + v));
    AT(sum + v) *= LD(scale + v);
  }
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd s = LD(e + v);
    if (older) s += LD(sum + v);
    for (int k = 1; k < count; k++) s += LD(ROW(e, k) + v);
    AT(sum + v) = s;
  }
}

GM_INLINE void gm_scale_rows(double *x, int rows, const double *scale, size_t lanes) {
  for (int i = 0; i < rows; i++) {
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(x, i) + v) *= LD(scale + v);
  }
}

/* The sums of group g, from a tile of its components at a time. A_g is computed only if the score
 * is wanted. */
GM_INLINE void gm_group(const gm_pool *pool, const gm_models *models, const gm_level *level, int g,
                        size_t lanes, int score, gm_score_work *work) {
  size_t d = pool->d;
  int end = models->first[g + 1], tile = pool->vector ? 1 : GM_COMPONENTS;
  double *top = ROW(work->top, g), *sum = ROW(work->sum, g), *e = work->e, *scale = work->part;
  double *slope = ROW(work->slope, g * d), *gain = ROW(work->slope, (models->G + g) * d);
  for (int i = models->first[g]; i < end; i += tile) {
    int count = end - i < tile ? end - i : tile, older = i > models->first[g];
    gm_rows rows = {e, lanes};
    if (pool->vector) {
      double *y = ROW(work->dx, 2 * d);
      gm_full_component(pool, models, level, i, lanes, work, !score ? NULL : older ? y : slope, e);
      gm_absorb(e, 1, older, lanes, top, sum, scale);
      for (size_t j = 0; score && older && j < d; j++) {
        double *a = ROW(slope, j);
        for (size_t v = 0; v < lanes; v += GM_VL) {
          AT(a + v) = LD(a + v) * LD(scale + v) + LD(e + v) * LD(ROW(y, j) + v);
        }
      }
      continue;
    }
    gm_logits(pool, level, i, count, lanes, work, e);
    gm_absorb(e, count, older, lanes, top, sum, scale);
    if (!score) continue;
    if (older) gm_scale_rows(slope, (int)d, scale, lanes);
    if (level->far) {
      gm_far_values(pool, models, level, i, count, older, lanes, work->u, e, slope);
      continue;
    }
    gm_product((int)d, count, (gm_matrix){level->offset + i * d, 1, d}, NULL, older, rows, lanes,
               slope);
    if (pool->common) continue;
    if (older) gm_scale_rows(gain, (int)d, scale, lanes);
    gm_product((int)d, count, (gm_matrix){level->gain + i * d, 1, d}, NULL, older, rows, lanes,
               gain);
  }
}

/* Model j mixes its groups: p_j = sum_g exp(top_g + shift_jg) S_g. Adds c_j (share of g) / S_g to
 * the coefficients of its groups. Writes log p_j to row logp and responsibilities to rows r, unless
 * these are NULL. */
GM_INLINE void gm_mix(const gm_models *models, int j, double c, size_t lanes, gm_score_work *work,
                      double *logp, double *r) {
  const double *shift = models->shift + (size_t)j * models->G;
  const int *group = models->group + (size_t)j * models->G, n = models->groups[j];
  double *part = work->part;
  int g = group[0], other = group[n - 1];
  double *top = ROW(work->top, g), *sum = ROW(work->sum, g), *coef = ROW(work->coef, g);
  if (n == 1) {
    int one = models->first[g + 1] - models->first[g] == 1;
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd share = vset(1);
      if (!one) share /= LD(sum + v);
      AT(coef + v) += vset(c) * share;
      if (r) AT(part + v) = share;
      if (logp) AT(logp + v) = LD(top + v) + vset(shift[g]) + vlog(LD(sum + v));
    }
  } else if (n == 2) { /* one of the two factors is 1 */
    double *top2 = ROW(work->top, other), *sum2 = ROW(work->sum, other);
    double *coef2 = ROW(work->coef, other);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd a = LD(top + v) + vset(shift[g]), b = LD(top2 + v) + vset(shift[other]);
      vd f = vexp(-vabs(a - b));
      vu less = vless(a, b);
      vd p = vselect(less, f, vset(1)), q = vselect(less, vset(1), f);
      vd mass = p * LD(sum + v) + q * LD(sum2 + v), share = vset(1) / mass;
      AT(coef + v) += vset(c) * (p * share);
      AT(coef2 + v) += vset(c) * (q * share);
      if (r) {
        AT(part + v) = p * share;
        AT(ROW(part, 1) + v) = q * share;
      }
      if (logp) AT(logp + v) = vmax(a, b) + vlog(mass);
    }
  } else {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd m = LD(top + v) + vset(shift[g]), mass = vset(0);
      for (int i = 1; i < n; i++) {
        m = vmax(m, LD(ROW(work->top, group[i]) + v) + vset(shift[group[i]]));
      }
      for (int i = 0; i < n; i++) {
        vd p = vexp(LD(ROW(work->top, group[i]) + v) + vset(shift[group[i]]) - m);
        AT(ROW(part, i) + v) = p;
        mass += p * LD(ROW(work->sum, group[i]) + v);
      }
      vd share = vset(1) / mass;
      for (int i = 0; i < n; i++) {
        vd p = LD(ROW(part, i) + v) * share;
        AT(ROW(part, i) + v) = p;
        AT(ROW(work->coef, group[i]) + v) += vset(c) * p;
      }
      if (logp) AT(logp + v) = m + vlog(mass);
    }
  }
  for (int i = 0; r && i < n; i++) {
    for (int k = models->first[group[i]]; k < models->first[group[i] + 1]; k++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        AT(ROW(r, k) + v) = LD(ROW(part, i) + v) * LD(ROW(work->e, k) + v);
      }
    }
  }
}

/* rho_k = coef_g e_k, if all e_k have been kept; rho may overwrite e. */
GM_INLINE void gm_rho(const gm_models *models, size_t lanes, const gm_score_work *work,
                      double *rho) {
  for (int g = 0; g < models->G; g++) {
    const double *coef = ROW(work->coef, g);
    for (int k = models->first[g]; k < models->first[g + 1]; k++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        AT(ROW(rho, k) + v) = LD(coef + v) * LD(ROW(work->e, k) + v);
      }
    }
  }
}

#endif
