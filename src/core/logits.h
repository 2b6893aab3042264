/* Logits of components at the particles, and their own scores; see score.h. */
#ifndef GM_LOGITS_H
#define GM_LOGITS_H

#include "layout.h"
#include "product.h"

/* Is the full component computed by its precision matrix? The rounding errors of P x grow with the
 * condition of P. Those of the denoised point grow with the cancellation in 1 - b^2 P. The form by
 * eigenvectors has neither. */
GM_INLINE int gm_by_precision(int d, const gm_level *level, const double *precision) {
  double least = precision[0], most = least;
  for (int j = 1; j < d; j++) {
    if (precision[j] < least) least = precision[j];
    if (precision[j] > most) most = precision[j];
  }
  return d <= GM_MAX_PRECISION && most <= 1e4 * least &&
         (level->want != GM_DENOISED || level->b2 * most <= 0.9999);
}

/* Makes the precision matrices of a level, once for all particles of a block. */
GM_INLINE void gm_precisions(const gm_pool *pool, const gm_models *models, const gm_level *level,
                             double *P) {
  size_t d = pool->d, ld = gm_padded(d), K = pool->K;
  for (size_t i = 0; i < (size_t)models->first[models->G]; i++) {
    /* the Jacobian wants all of them, for the score */
    const double *precision = level->precision + i * d;
    if (level->want != GM_SCORE && !gm_by_precision((int)d, level, precision)) continue;
    gm_precision((int)d, pool->vector + models->order[i] * d * d, precision, ld,
                 P + K * d * ld, P + i * d * ld);
  }
}

/* start_k of component i, or NULL. */
GM_INLINE const double *gm_start(const gm_models *models, const gm_level *level, size_t d, int i) {
  return level->start ? level->start + models->order[i] * d : NULL;
}

/* g = start_k + B_k (x - a mu_k) of component i of the full form (NULL: not wanted), and its
 * logit. */
GM_INLINE void gm_full_component(const gm_pool *pool, const gm_models *models,
                                 const gm_level *level, int i, size_t lanes, gm_score_work *work,
                                 double *g, double *logit) {
  int d = pool->d;
  const double *mean = level->mean + (size_t)i * d, *prec = level->precision + (size_t)i * d;
  const double *V = pool->vector + (size_t)models->order[i] * d * d;
  const double *gain = level->gain + (size_t)i * d, *start = gm_start(models, level, d, i);
  double *dx = work->dx, *y = ROW(dx, d), constant = level->constant[i];
  for (int j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(ROW(dx, j) + v) = vset(mean[j]) - LD(ROW(work->u, j) + v);
    }
  }
  if (gm_by_precision(d, level, prec)) {
    size_t ld = gm_padded(d);
    int denoised = level->want == GM_DENOISED;
    gm_quadratic(d, work->P + i * d * ld, ld, dx, lanes, g, logit);
    double by = denoised ? level->b2 / level->a : -sqrt(level->b2);
    double less = denoised ? 1 / level->a : 0;
    for (size_t v = 0; g && level->want != GM_SCORE && v < (size_t)d * lanes; v += GM_VL) {
      AT(g + v) = vset(by) * LD(g + v) - vset(less) * LD(dx + v);
    }
  } else {
    gm_product(d, d, (gm_matrix){V, d, 1}, NULL, 0, (gm_rows){dx, lanes}, lanes, y);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd q = vset(0);
      for (int j = 0; j < d; j++) {
        vd yj = LD(ROW(y, j) + v);
        q += yj * (vset(prec[j]) * yj);
        AT(ROW(y, j) + v) = vset(-gain[j]) * yj;
      }
      AT(logit + v) = q;
    }
    if (g) gm_product(d, d, (gm_matrix){V, 1, d}, NULL, 0, (gm_rows){y, lanes}, lanes, g);
  }
  for (int j = 0; g && start && j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(g, j) + v) += vset(start[j]);
  }
  for (size_t v = 0; v < lanes; v += GM_VL) {
    AT(logit + v) = vset(constant) - vset(0.5) * vmin(LD(logit + v), vset(GM_FAR));
  }
}

/* Logits of components far apart. Differences x - a mu_k keep all their digits; the other forms
 * take x and a mu_k from one origin. (With a common covariance, without the norm.) */
static GM_NOINLINE void gm_far_logits(const gm_pool *pool, const gm_level *level, int i, int count,
                                      size_t lanes, const double *x, double *logit) {
  int d = pool->d;
  for (int k = 0; k < count; k++) {
    const double *mean = level->mean + (size_t)(i + k) * d;
    const double *prec = level->precision + (pool->common ? 0 : (size_t)(i + k) * d);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd q = vset(0);
      for (int j = 0; j < d; j++) {
        vd dx = LD(ROW(x, j) + v) - vset(mean[j]);
        q += dx * (vset(prec[j]) * dx);
      }
      AT(ROW(logit, k) + v) = vset(level->constant[i + k]) - vset(0.5) * vmin(q, vset(GM_FAR));
    }
  }
}

/* y = sum_k e_k v_k of such components, added to y if `add`. */
static GM_NOINLINE void gm_far_values(const gm_pool *pool, const gm_models *models,
                                      const gm_level *level, int i, int count, int add,
                                      size_t lanes, const double *x, const double *e, double *y) {
  int d = pool->d;
  for (int j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd sum = add ? LD(ROW(y, j) + v) : vset(0), xj = LD(ROW(x, j) + v);
      for (int k = 0; k < count; k++) {
        size_t at = (size_t)(i + k) * d + j;
        const double *start = gm_start(models, level, d, i + k);
        vd dx = xj - vset(level->mean[at]);
        vd value = vset(level->gain[pool->common ? (size_t)j : at]) * dx;
        if (start) value += vset(start[j]);
        sum += LD(ROW(e, k) + v) * value;
      }
      AT(ROW(y, j) + v) = sum;
    }
  }
}

/* Logits of `count` components from number i on, for the forms without eigenvectors. */
GM_INLINE void gm_logits(const gm_pool *pool, const gm_level *level, int i, int count,
                         size_t lanes, gm_score_work *work, double *logit) {
  size_t d = pool->d;
  gm_rows u = {work->u, lanes};
  if (level->far) {
    gm_far_logits(pool, level, i, count, lanes, work->u, logit);
  } else if (pool->common) {
    gm_product(count, (int)d, (gm_matrix){level->slope + i * d, d, 1}, level->constant + i, 0,
               u, lanes, logit);
  } else {
    gm_distance(count, (int)d, (gm_matrix){level->root + i * d, d, 1}, level->root_mean + i * d,
                level->constant + i, u, lanes, logit);
  }
}

/* The logits, and v_k, which the derivative needs later. */
GM_INLINE void gm_component_scores(const gm_pool *pool, const gm_models *models,
                                   const gm_level *level, int i, size_t lanes,
                                   gm_score_work *work) {
  int d = pool->d;
  double *g = ROW(work->g, (size_t)i * d), *logit = ROW(work->e, i);
  if (pool->vector) {
    gm_full_component(pool, models, level, i, lanes, work, g, logit);
    return;
  }
  const double *mean = level->mean + (size_t)i * d;
  const double *prec = level->precision + (pool->common ? 0 : (size_t)i * d);
  const double *gain = level->gain + (pool->common ? 0 : (size_t)i * d);
  const double *start = gm_start(models, level, d, i);
  int linear = pool->common && !level->far;
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd q = vset(0);
    for (int j = 0; j < d; j++) {
      vd dx = LD(ROW(work->u, j) + v) - vset(mean[j]), value = vset(gain[j]) * dx;
      if (!linear) q += dx * (vset(prec[j]) * dx);
      if (start) value += vset(start[j]);
      AT(ROW(g, j) + v) = value;
    }
    if (!linear) {
      AT(logit + v) = vset(level->constant[i]) - vset(0.5) * vmin(q, vset(GM_FAR));
    }
  }
  if (linear) gm_logits(pool, level, i, 1, lanes, work, logit);
}

#endif
