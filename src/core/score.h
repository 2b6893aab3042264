/* The one score kernel, for particles in rows of `lanes` numbers.
 *
 *   s(x) = sum_j c_j s_j(x),  s_j = score of model j = sum_k r_jk g_k,  g_k = -P_k (x - a mu_k)
 *   Ds   = sum_j c_j [ sum_k r_jk (g_k - s_j)(g_k - s_j)' ] - sum_k rho_k P_k,  rho = sum_j c_j r_j
 *
 * A level may want the denoised point or the noise in place of the score: then g_k stands for the
 * v_k of gm_level, s_j for their mean, B_k for -P_k, and `outer` is the factor of the first term.
 * The denoised point is so made of points, and no digits are lost where a is small.
 *
 * Responsibilities r_jk are softmaxes of log w_jk + log N_k. Components that all models weigh alike
 * form a group g (see gm_models): they share exp(logit - top_g), and the sums
 *
 *   S_g = sum_k e_k,  A_g = sum_k e_k (slope of component k),
 *
 * that the models then mix. Where there are many components they are taken a tile at a time, so
 * that these sums, and not K rows of responsibilities, are what a block keeps. The derivative is
 * centred at s_j: the equal form sum r g g' - s s' loses all digits far out. */
#ifndef GM_SCORE_H
#define GM_SCORE_H

#include "layout.h"
#include "product.h"
#include "rng.h"

/* Where the kernel works; see layout.h for the sizes. */
typedef struct {
  double *u;     /* d rows: x - origin */
  double *e;     /* a tile of components (all, for the derivative): logits, then e_k */
  double *top;   /* G rows: what the e_k of a group are relative to */
  double *sum;   /* G rows: S_g */
  double *slope; /* G x d rows: A_g, and G x d more if precisions differ: sum_k e_k gain_k */
  double *coef;  /* G rows: sum_j c_j (share of group g in model j) / S_g */
  double *part;  /* G rows, and one: scratch */
  double *dx;    /* 3 x d rows: scratch of the full form, and of the Jacobian */
  double *P;     /* precision matrices of the full form, and d x ld of scratch */
  double *g;     /* K x d rows: component scores, for the derivative, which alone needs the rest */
  double *r;     /* J x K rows: responsibilities */
  double *rho;   /* K rows */
  double *s;     /* J x d rows: model scores */
} gm_score_work;

/* Rounding errors of P x grow with the condition of P; those of the eigenvectors' form do not. */
GM_INLINE int gm_well_conditioned(int d, const double *precision) {
  double least = precision[0], most = least;
  for (int j = 1; j < d; j++) {
    if (precision[j] < least) least = precision[j];
    if (precision[j] > most) most = precision[j];
  }
  return most <= 1e4 * least;
}

/* The precision matrices of a level, once for all particles of a block. */
GM_INLINE void gm_precisions(const gm_pool *pool, const gm_models *models, const gm_level *level,
                             double *P) {
  size_t d = pool->d, ld = gm_padded(d), K = pool->K;
  for (size_t i = 0; i < (size_t)models->first[models->G]; i++) {
    gm_precision((int)d, pool->vector + models->order[i] * d * d, level->precision + i * d, ld,
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
  if (level->want == GM_SCORE && d <= GM_MAX_PRECISION && gm_well_conditioned(d, prec)) {
    size_t ld = gm_padded(d);
    gm_quadratic(d, work->P + i * d * ld, ld, dx, lanes, g, logit);
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

/* Logits of components far apart: of differences x - a mu_k that have all their digits, where the
 * other forms take x and a mu_k from one origin. (With a common covariance, without the norm.) */
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

/* y = sum_k e_k v_k of the same, added to y if `add`. */
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

/* Logits of `count` components from number i on; of the forms without eigenvectors. */
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

/* The same, and v_k, which is kept, for the derivative. */
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

/* Takes `count` rows of logits into the sums of a group: they become e_k = exp(logit - top). Older
 * sums, relative to an older top, are to be multiplied by the row `scale`. */
GM_INLINE void gm_absorb(double *e, int count, int older, size_t lanes, double *top, double *sum,
                         double *scale) {
  if (!older && count == 1) { /* no exp, and exactly 1 */
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

/* The sums of group g, from a tile of its components at a time; A_g only if the score is wanted. */
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
 * the coefficients of its groups; log p_j to row logp, responsibilities to rows r, if not NULL. */
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

/* rho_k = coef_g e_k, if all e_k have been kept; may take their place. */
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

/* s = sum_g coef_g A_g, less the part in x. */
GM_INLINE void gm_assemble(const gm_pool *pool, const gm_models *models, const gm_level *level,
                           size_t lanes, gm_score_work *work, double *s, size_t stride) {
  size_t d = pool->d, G = models->G;
  int apart = !pool->common && !pool->vector && !level->far;
  for (size_t j = 0; j < d; j++) {
    double *to = s + j * stride;
    for (size_t g = 0; g < G; g++) {
      const double *a = ROW(work->slope, g * d + j), *b = ROW(work->slope, (G + g) * d + j);
      const double *coef = ROW(work->coef, g), *u = ROW(work->u, j);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd t = LD(a + v);
        if (apart) t += LD(b + v) * LD(u + v);
        t *= LD(coef + v);
        if (g) t += LD(to + v);
        AT(to + v) = t;
      }
    }
  }
  for (size_t j = 0; pool->common && !level->far && j < d; j++) {
    double b = level->total * level->gain[j];
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(s + j * stride + v) += vset(b) * LD(ROW(work->u, j) + v);
    }
  }
}

/* The same by rho, if all e_k have been kept. */
GM_INLINE void gm_assemble_kept(const gm_pool *pool, const gm_models *models,
                                const gm_level *level, size_t lanes, gm_score_work *work,
                                double *s) {
  int K = models->first[models->G], d = pool->d;
  double *rho = work->e, *t = work->slope;
  gm_rows rows = {rho, lanes};
  gm_rho(models, lanes, work, rho);
  if (level->far) {
    gm_far_values(pool, models, level, 0, K, 0, lanes, work->u, rho, s);
    return;
  }
  gm_product(d, K, (gm_matrix){level->offset, 1, d}, NULL, 0, rows, lanes, s);
  if (!pool->common) {
    gm_product(d, K, (gm_matrix){level->gain, 1, d}, NULL, 0, rows, lanes, t);
  }
  for (int j = 0; j < d; j++) {
    double *to = ROW(s, j), *u = ROW(work->u, j), *tj = ROW(t, j);
    if (pool->common) {
      double b = level->total * level->gain[j];
      for (size_t v = 0; v < lanes; v += GM_VL) AT(to + v) += vset(b) * LD(u + v);
    } else {
      for (size_t v = 0; v < lanes; v += GM_VL) AT(to + v) += LD(tj + v) * LD(u + v);
    }
  }
}

/* The same for few components that share a covariance, in fewer dimensions (as a reduced mixture
 * has, see R/reduction.R): a vector of particles goes from x to s in registers. */
enum { GM_FEW_COMPONENTS = 4, GM_FEW_DIMENSIONS = 3, GM_FEW_MODELS = 4 };

GM_INLINE void gm_score_few(const int K, const int d, const gm_models *models,
                            const gm_level *level, const double *x, size_t stride, size_t lanes,
                            double *s) {
  /* models of one component have responsibility 1; by: what the other models add to a logit */
  double one[GM_FEW_COMPONENTS] = {0}, by[GM_FEW_MODELS][GM_FEW_COMPONENTS], c[GM_FEW_MODELS];
  int n = 0;
  for (int j = 0; j < models->J; j++) {
    const double *shift = models->shift + (size_t)j * models->G;
    int g = models->group[(size_t)j * models->G], k = models->first[g];
    if (level->coef[j] == 0) continue;
    if (models->groups[j] == 1 && models->first[g + 1] - k == 1) {
      one[k] += level->coef[j];
      continue;
    }
    c[n] = level->coef[j];
    for (g = 0; g < models->G; g++) {
      for (k = models->first[g]; k < models->first[g + 1]; k++) by[n][k] = shift[g];
    }
    n++;
  }
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd u[GM_FEW_DIMENSIONS], l[GM_FEW_COMPONENTS], rho[GM_FEW_COMPONENTS];
    GM_UNROLL
    for (int i = 0; i < d; i++) u[i] = LD(x + i * stride + v) - vset(level->origin[i]);
    GM_UNROLL
    for (int k = 0; k < K; k++) {
      l[k] = vset(level->constant[k]);
      rho[k] = vset(one[k]);
      GM_UNROLL
      for (int i = 0; i < d; i++) l[k] += vset(level->slope[k * d + i]) * u[i];
    }
    for (int j = 0; j < n; j++) {
      vd e[GM_FEW_COMPONENTS], top = l[0] + vset(by[j][0]), sum = vset(0);
      GM_UNROLL
      for (int k = 0; k < K; k++) {
        e[k] = l[k] + vset(by[j][k]);
        top = vmax(top, e[k]);
      }
      GM_UNROLL
      for (int k = 0; k < K; k++) {
        e[k] = vexp(e[k] - top);
        sum += e[k];
      }
      vd weight = vset(c[j]) / sum;
      GM_UNROLL
      for (int k = 0; k < K; k++) rho[k] += weight * e[k];
    }
    GM_UNROLL
    for (int i = 0; i < d; i++) {
      vd to = vset(level->total * level->gain[i]) * u[i];
      GM_UNROLL
      for (int k = 0; k < K; k++) to += vset(level->offset[k * d + i]) * rho[k];
      AT(s + i * stride + v) = to;
    }
  }
}

/* Is it such a case? Then does it. */
GM_INLINE int gm_try_few(const gm_pool *pool, const gm_models *models, const gm_level *level,
                         const double *x, size_t stride, size_t lanes, double *s) {
  if (!pool->common || models->J > GM_FEW_MODELS || level->far || level->lack != 0) return 0;
#define GM_FEW(K, d)                                                 \
  case 8 * (d) + (K):                                                \
    gm_score_few(K, d, models, level, x, stride, lanes, s);          \
    return 1
  switch (8 * pool->d + models->first[models->G]) {
    GM_FEW(2, 1); GM_FEW(3, 1); GM_FEW(4, 1);
    GM_FEW(3, 2); GM_FEW(4, 2);
    GM_FEW(4, 3);
  }
#undef GM_FEW
  return 0;
}

/* Guided score of the particles x, or what else the level wants, into s (NULL: not wanted), log p_j
 * into logp (or NULL); rows of these three lie `stride` apart. Keeps g, r and rho if `derivative`.
 *
 * With one covariance for all, x'Px drops out of the softmax: logits are linear in u = x - origin,
 * and s_j = sum_k r_jk slope_k - P u. That is also right at any distance, but not for components
 * that are far apart (`far`). */
GM_INLINE void gm_score(const gm_pool *pool, const gm_models *models, const gm_level *level,
                        const double *x, size_t stride, size_t lanes, int derivative,
                        gm_score_work *work, double *s, double *logp) {
  int K = models->first[models->G], d = pool->d, G = models->G;
  int kept = derivative || (!pool->vector && K <= GM_COMPONENTS);
  if (s && !logp && !derivative && gm_try_few(pool, models, level, x, stride, lanes, s)) return;
  for (int j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(ROW(work->u, j) + v) = LD(x + j * stride + v) - vset(level->origin[j]);
    }
  }
  for (int i = 0; derivative && i < K; i++) {
    gm_component_scores(pool, models, level, i, lanes, work);
  }
  if (kept && !derivative) gm_logits(pool, level, 0, K, lanes, work, work->e);
  for (int g = 0; g < G; g++) {
    if (kept) {
      gm_absorb(ROW(work->e, models->first[g]), models->first[g + 1] - models->first[g], 0, lanes,
                ROW(work->top, g), ROW(work->sum, g), NULL);
    } else {
      gm_group(pool, models, level, g, lanes, s != NULL, work);
    }
  }
  memset(work->coef, 0, sizeof(double) * G * lanes);
  for (int j = 0; j < models->J; j++) {
    if (level->coef[j] == 0 && !logp) continue;
    gm_mix(models, j, level->coef[j], lanes, work, logp ? logp + j * stride : NULL,
           derivative ? ROW(work->r, (size_t)j * K) : NULL);
  }
  if (logp && pool->common) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd q = vset(0);
      /* else the logits have it all but the norm */
      for (int j = 0; !level->far && j < d; j++) {
        vd uj = LD(ROW(work->u, j) + v);
        q += vset(level->precision[j]) * uj * uj;
      }
      q = vset(level->log_norm) - vset(0.5) * vmin(q, vset(GM_FAR));
      for (int m = 0; m < models->J; m++) AT(logp + m * stride + v) += q;
    }
  }
  if (!s) return;
  if (!kept) {
    gm_assemble(pool, models, level, lanes, work, s, stride);
  } else if (!derivative) {
    gm_assemble_kept(pool, models, level, lanes, work, s);
  } else {
    gm_rho(models, lanes, work, work->rho);
    for (int j = 0; j < d; j++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd sum = vset(0);
        for (int k = 0; k < K; k++) {
          sum += LD(ROW(work->rho, k) + v) * LD(ROW(work->g, (size_t)k * d + j) + v);
        }
        AT(s + j * stride + v) = sum;
      }
    }
  }
  for (int j = 0; level->lack != 0 && j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(s + j * stride + v) += vset(level->lack) * LD(x + j * stride + v);
    }
  }
}

/* All components k of model m, as for (GM_MEMBERS(m, k)) */
#define GM_MEMBERS(m, k) \
  int i_ = 0, k = models->first[models->group[(size_t)(m) * models->G]]; \
  i_ < models->groups[m]; \
  k = gm_next_member(models, m, k, &i_)

GM_INLINE int gm_next_member(const gm_models *models, int m, int k, int *i) {
  const int *group = models->group + (size_t)m * models->G;
  if (k + 1 < models->first[group[*i] + 1]) return k + 1;
  return ++*i < models->groups[m] ? models->first[group[*i]] : -1;
}

/* A model of one component has no spread of its g_k, and so no share in the derivative. */
GM_INLINE int gm_spreads(const gm_models *models, const gm_level *level, int m) {
  int g = models->group[(size_t)m * models->G];
  return level->coef[m] != 0 &&
         (models->groups[m] > 1 || models->first[g + 1] - models->first[g] > 1);
}

/* Model scores s_j, after gm_score for the derivative. */
GM_INLINE void gm_model_scores(const gm_pool *pool, const gm_models *models, const gm_level *level,
                               size_t lanes, gm_score_work *work) {
  int K = models->first[models->G], d = pool->d;
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m)) continue;
    for (int j = 0; j < d; j++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd sum = vset(0);
        for (GM_MEMBERS(m, k)) {
          sum += LD(ROW(work->r, (size_t)m * K + k) + v) *
                 LD(ROW(work->g, (size_t)k * d + j) + v);
        }
        AT(ROW(work->s, (size_t)m * d + j) + v) = sum;
      }
    }
  }
}

/* Divergence of the guided score, after gm_model_scores. */
GM_INLINE void gm_divergence(const gm_pool *pool, const gm_models *models, const gm_level *level,
                             size_t lanes, gm_score_work *work, double *divergence) {
  int K = models->first[models->G], d = pool->d;
  for (size_t v = 0; v < lanes; v += GM_VL) AT(divergence + v) = vset(d * level->lack);
  for (int k = 0; k < K; k++) {
    const double *gain = level->gain + (pool->common ? 0 : (size_t)k * d);
    double trace = 0;
    for (int j = 0; j < d; j++) trace += gain[j];
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(divergence + v) += vset(trace) * LD(ROW(work->rho, k) + v);
    }
  }
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m)) continue;
    double c = level->outer * level->coef[m];
    for (GM_MEMBERS(m, k)) {
      const double *r = ROW(work->r, (size_t)m * K + k);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          vd h = LD(ROW(work->g, (size_t)k * d + j) + v) - LD(ROW(work->s, (size_t)m * d + j) + v);
          q += h * h;
        }
        AT(divergence + v) += vset(c) * (LD(r + v) * q);
      }
    }
  }
}

/* Entry a, b of B_k of the full form; that of the score has been formed, as -P, if there is P. */
GM_INLINE double gm_gain_entry(const gm_pool *pool, const gm_models *models, const gm_level *level,
                               const gm_score_work *work, int k, int a, int b) {
  size_t d = pool->d;
  if (work->P && level->want == GM_SCORE) return -work->P[(k * d + b) * gm_padded(d) + a];
  const double *V = pool->vector + models->order[k] * d * d, *gain = level->gain + k * d;
  double sum = 0;
  for (size_t j = 0; j < d; j++) sum += V[j * d + a] * gain[j] * V[j * d + b];
  return sum;
}

/* The leading n x n block of the Jacobian of the guided score (symmetric, n x n rows), after
 * gm_model_scores. */
GM_INLINE void gm_jacobian(const gm_pool *pool, const gm_models *models, const gm_level *level,
                           int n, size_t lanes, gm_score_work *work, double *H) {
  int K = models->first[models->G], d = pool->d;
  memset(H, 0, sizeof(double) * n * n * lanes);
  for (int j = 0; level->lack != 0 && j < n; j++) {
    double *h = ROW(H, (size_t)j * n + j);
    for (size_t v = 0; v < lanes; v += GM_VL) AT(h + v) = vset(level->lack);
  }
  for (int k = 0; k < K; k++) {
    const double *gain = level->gain + (pool->common ? 0 : (size_t)k * d);
    const double *rho = ROW(work->rho, k);
    for (int b = 0; b < n; b++) {
      for (int a = pool->vector ? 0 : b; a <= b; a++) {
        double by = pool->vector ? gm_gain_entry(pool, models, level, work, k, a, b) : gain[b];
        double *h = ROW(H, (size_t)b * n + a);
        for (size_t v = 0; v < lanes; v += GM_VL) AT(h + v) += vset(by) * LD(rho + v);
      }
    }
  }
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m)) continue;
    const double *s = ROW(work->s, (size_t)m * d);
    double c = level->outer * level->coef[m];
    for (GM_MEMBERS(m, k)) {
      const double *g = ROW(work->g, (size_t)k * d), *r = ROW(work->r, (size_t)m * K + k);
      double *u = work->dx;
      for (int j = 0; j < n; j++) {
        for (size_t v = 0; v < lanes; v += GM_VL) {
          AT(ROW(u, j) + v) = LD(ROW(g, j) + v) - LD(ROW(s, j) + v);
        }
      }
      for (int b = 0; b < n; b++) {
        for (size_t v = 0; v < lanes; v += GM_VL) {
          vd w = vset(c) * LD(r + v) * LD(ROW(u, b) + v);
          for (int a = 0; a <= b; a++) {
            AT(ROW(H, (size_t)b * n + a) + v) += w * LD(ROW(u, a) + v);
          }
        }
      }
    }
  }
  for (int b = 0; b < n; b++) {
    for (int a = 0; a < b; a++) {
      memcpy(ROW(H, (size_t)a * n + b), ROW(H, (size_t)b * n + a), sizeof(double) * lanes);
    }
  }
}

/* y = Ds x for rows x and y of d, after gm_model_scores; no d x d matrix is made. */
GM_INLINE void gm_curve(const gm_pool *pool, const gm_models *models, const gm_level *level,
                        size_t lanes, gm_score_work *work, const double *x, double *y) {
  int K = models->first[models->G], d = pool->d;
  gm_rows rows = {x, lanes};
  for (int j = 0; j < d; j++) {
    double b = level->lack + (pool->common ? level->total * level->gain[j] : 0);
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(y, j) + v) = vset(b) * LD(ROW(x, j) + v);
  }
  for (int k = 0; !pool->common && k < K; k++) {
    const double *gain = level->gain + (size_t)k * d, *rho = ROW(work->rho, k), *bx = x;
    if (pool->vector) {
      const double *V = pool->vector + (size_t)models->order[k] * d * d;
      double *turned = work->dx, *back = ROW(work->dx, d);
      gm_product(d, d, (gm_matrix){V, d, 1}, NULL, 0, rows, lanes, turned);
      for (int j = 0; j < d; j++) {
        for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(turned, j) + v) *= vset(gain[j]);
      }
      gm_product(d, d, (gm_matrix){V, 1, d}, NULL, 0, (gm_rows){turned, lanes}, lanes, back);
      bx = back;
    }
    for (int j = 0; j < d; j++) {
      double b = pool->vector ? 1 : gain[j];
      for (size_t v = 0; v < lanes; v += GM_VL) {
        AT(ROW(y, j) + v) += vset(b) * LD(rho + v) * LD(ROW(bx, j) + v);
      }
    }
  }
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m)) continue;
    const double *s = ROW(work->s, (size_t)m * d);
    double c = level->outer * level->coef[m];
    for (GM_MEMBERS(m, k)) {
      const double *g = ROW(work->g, (size_t)k * d), *r = ROW(work->r, (size_t)m * K + k);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          q += (LD(ROW(g, j) + v) - LD(ROW(s, j) + v)) * LD(ROW(x, j) + v);
        }
        q *= vset(c) * LD(r + v);
        for (int j = 0; j < d; j++) {
          AT(ROW(y, j) + v) += q * (LD(ROW(g, j) + v) - LD(ROW(s, j) + v));
        }
      }
    }
  }
}

/* x = A^-1 x for positive definite matrices A of n x n rows, which become A = L D L' (L below the
 * diagonal, 1/D on it). A pivot is held at 1e-13 of `scale`, n numbers of which A is a difference:
 * below, rounding left it without digits. */
GM_INLINE void gm_solve(int n, double *A, const double *scale, size_t lanes, double *x) {
#define ENTRY(i, j) (ROW(A, (size_t)(j) * n + (i)) + v)
  for (size_t v = 0; v < lanes; v += GM_VL) {
    for (int j = 0; j < n; j++) {
      vd pivot = LD(ENTRY(j, j)), least = vset(1e-13 * scale[j]);
      for (int l = 0; l < j; l++) pivot -= LD(ENTRY(j, l)) * LD(ENTRY(l, j));
      vd inverse = vset(1) / vmax(pivot, least);
      AT(ENTRY(j, j)) = inverse;
      for (int i = j + 1; i < n; i++) {
        vd t = LD(ENTRY(i, j));
        for (int l = 0; l < j; l++) t -= LD(ENTRY(i, l)) * LD(ENTRY(l, j));
        AT(ENTRY(j, i)) = t; /* D L' above the diagonal */
        AT(ENTRY(i, j)) = t * inverse;
      }
    }
    for (int i = 0; i < n; i++) {
      vd t = LD(ROW(x, i) + v);
      for (int l = 0; l < i; l++) t -= LD(ENTRY(i, l)) * LD(ROW(x, l) + v);
      AT(ROW(x, i) + v) = t;
    }
    for (int i = n - 1; i >= 0; i--) {
      vd t = LD(ROW(x, i) + v) * LD(ENTRY(i, i));
      for (int l = i + 1; l < n; l++) t -= LD(ENTRY(l, i)) * LD(ROW(x, l) + v);
      AT(ROW(x, i) + v) = t;
    }
  }
#undef ENTRY
}

#endif
