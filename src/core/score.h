/* The one score kernel, for a block of particles (rows of `lanes` numbers).
 *
 *   s(x) = sum_j c_j s_j(x),  s_j = score of model j = sum_k r_jk g_k,  g_k = -P_k (x - a mu_k)
 *        = sum_k rho_k g_k,   rho_k = sum_j c_j r_jk
 *   Ds   = sum_j c_j [ sum_k r_jk (g_k - s_j)(g_k - s_j)' ] - sum_k rho_k P_k
 *
 * Responsibilities r_jk are softmaxes of log w_jk + log N_k. The derivative is centred at s_j:
 * the equal form sum r g g' - s s' loses all digits far out. */
#ifndef GM_SCORE_H
#define GM_SCORE_H

#include "gm.h"
#include "rng.h"

#define ROW(p, i) ((p) + (size_t)(i) * lanes)
#define AT(p) (*(vd *)(p))
#define LD(p) (*(const vd *)(p))

/* What the kernel leaves for those that build on it (the derivative; Jacobian-vector products). */
typedef struct {
  double *g;     /* K x d rows: component scores (for the derivative, or full covariances) */
  double *logit; /* K rows: log N_k, up to a term common to all k if they share a covariance */
  double *r;     /* responsibilities: J x K rows for the derivative, else K rows, used in turn */
  double *rho;   /* K rows */
  double *s;     /* J x d rows: model scores (for the derivative) */
  double *u;     /* d rows: x - origin */
  double *t;     /* 2 x d rows: scratch */
} gm_score_work;

/* y_i = offset_i + sum_j m[i * si + j * sj] x_j for `rows` y and `cols` x (offset NULL: zero):
 * register tiles of 4 rows x 2 vectors. */
GM_INLINE void gm_product(int rows, int cols, const double *m, size_t si, size_t sj,
                          const double *offset, const double *x, size_t lanes, double *y) {
  for (size_t v = 0; v < lanes; v += 2 * GM_VL) {
    size_t w = v + GM_VL < lanes ? GM_VL : 0;
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
      vd a0 = vset(offset ? offset[i] : 0), a1 = vset(offset ? offset[i + 1] : 0);
      vd a2 = vset(offset ? offset[i + 2] : 0), a3 = vset(offset ? offset[i + 3] : 0);
      vd b0 = a0, b1 = a1, b2 = a2, b3 = a3;
      const double *q = m + i * si;
      for (int j = 0; j < cols; j++, q += sj) {
        vd u = LD(ROW(x, j) + v), z = LD(ROW(x, j) + v + w);
        vd m0 = vset(q[0]), m1 = vset(q[si]), m2 = vset(q[2 * si]), m3 = vset(q[3 * si]);
        a0 += m0 * u; b0 += m0 * z;
        a1 += m1 * u; b1 += m1 * z;
        a2 += m2 * u; b2 += m2 * z;
        a3 += m3 * u; b3 += m3 * z;
      }
      AT(ROW(y, i) + v) = a0; AT(ROW(y, i) + v + w) = b0;
      AT(ROW(y, i + 1) + v) = a1; AT(ROW(y, i + 1) + v + w) = b1;
      AT(ROW(y, i + 2) + v) = a2; AT(ROW(y, i + 2) + v + w) = b2;
      AT(ROW(y, i + 3) + v) = a3; AT(ROW(y, i + 3) + v + w) = b3;
    }
    for (; i < rows; i++) {
      vd a = vset(offset ? offset[i] : 0), b = a;
      const double *q = m + i * si;
      for (int j = 0; j < cols; j++, q += sj) {
        a += vset(*q) * LD(ROW(x, j) + v);
        b += vset(*q) * LD(ROW(x, j) + v + w);
      }
      AT(ROW(y, i) + v) = a; AT(ROW(y, i) + v + w) = b;
    }
  }
}

/* Beyond 1e150 standard deviations components tie: no difference of infinities. */
#define GM_FAR 1e300

/* log N_k and, if wanted, g_k of every component. */
GM_INLINE void gm_components(const gm_pool *pool, const gm_level *level, size_t lanes, int want_g,
                             gm_score_work *work) {
  int d = pool->d;
  for (int k = 0; k < pool->K; k++) {
    const double *mean = level->mean + (size_t)k * d;
    const double *prec = level->precision + (pool->common ? 0 : (size_t)k * d);
    double *logit = ROW(work->logit, k), norm = level->log_norm[k];
    double *g = want_g || pool->vector ? ROW(work->g, (size_t)k * d) : NULL;
    if (!pool->vector) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          vd dx = LD(ROW(work->u, j) + v) - vset(mean[j]), pdx = vset(prec[j]) * dx;
          q += dx * pdx;
          if (want_g) AT(ROW(g, j) + v) = -pdx;
        }
        AT(logit + v) = vset(norm) - vset(0.5) * vmin(q, vset(GM_FAR));
      }
    } else {
      const double *V = pool->vector + (size_t)k * d * d;
      double *dx = work->t, *y = ROW(work->t, d);
      for (int j = 0; j < d; j++) {
        for (size_t v = 0; v < lanes; v += GM_VL) {
          AT(ROW(dx, j) + v) = LD(ROW(work->u, j) + v) - vset(mean[j]);
        }
      }
      gm_product(d, d, V, d, 1, NULL, dx, lanes, y);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          vd yj = LD(ROW(y, j) + v), py = vset(prec[j]) * yj;
          q += yj * py;
          AT(ROW(y, j) + v) = -py;
        }
        AT(logit + v) = vset(norm) - vset(0.5) * vmin(q, vset(GM_FAR));
      }
      gm_product(d, d, V, 1, d, NULL, y, lanes, g);
    }
  }
}

/* Responsibilities of each model and their signed sum; log p_j to rows logp if not NULL. */
GM_INLINE void gm_responsibilities(const gm_pool *pool, const gm_models *models,
                                   const gm_level *level, size_t lanes, int want_r,
                                   gm_score_work *work, double *logp) {
  int K = pool->K;
  memset(work->rho, 0, sizeof(double) * K * lanes);
  for (int j = 0; j < models->J; j++) {
    const int *member = models->member + (size_t)j * K, size = models->size[j];
    const double *lw = models->log_weight + (size_t)j * K;
    double *r = ROW(work->r, want_r ? (size_t)j * K : 0), c = level->coef[j];
    if (c == 0 && !logp) continue;
    for (size_t v = 0; v < lanes; v += GM_VL) {
      if (size == 1) { /* exactly 1, and no exp */
        int k = member[0];
        AT(ROW(r, k) + v) = vset(1.0);
        AT(ROW(work->rho, k) + v) += vset(c);
        if (logp) AT(ROW(logp, j) + v) = vset(lw[k]) + LD(ROW(work->logit, k) + v);
        continue;
      }
      vd top = vset(-INFINITY), sum = vset(0);
      for (int i = 0; i < size; i++) {
        int k = member[i];
        top = vmax(top, vset(lw[k]) + LD(ROW(work->logit, k) + v));
      }
      for (int i = 0; i < size; i++) {
        int k = member[i];
        vd e = vexp(vset(lw[k]) + LD(ROW(work->logit, k) + v) - top);
        AT(ROW(r, k) + v) = e;
        sum += e;
      }
      if (logp) AT(ROW(logp, j) + v) = top + vlog(sum);
      vd scale = vset(1.0) / sum;
      for (int i = 0; i < size; i++) {
        int k = member[i];
        vd rk = LD(ROW(r, k) + v) * scale;
        AT(ROW(r, k) + v) = rk;
        AT(ROW(work->rho, k) + v) += vset(c) * rk;
      }
    }
  }
}

/* Guided score of the block x into s; log p_j into logp if not NULL; keeps g and r if `derivative`.
 *
 * With one covariance for all, x'Px drops out of the softmax: logits are linear in u = x - origin,
 * and s_j = sum_k rho_k slope_kj - (sum_j c_j) P_j u_j. */
GM_INLINE void gm_score(const gm_pool *pool, const gm_models *models, const gm_level *level,
                        const double *x, size_t lanes, int derivative, gm_score_work *work,
                        double *s, double *logp) {
  int K = pool->K, d = pool->d, linear = pool->common && !pool->vector && !derivative;
  const double *prec = level->precision;
  for (int j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(ROW(work->u, j) + v) = LD(ROW(x, j) + v) - vset(level->origin[j]);
    }
  }
  if (!linear) {
    gm_components(pool, level, lanes, derivative, work);
  } else if (d == 2) { /* the compiler unrolls the constant */
    gm_product(K, 2, level->slope, 2, 1, level->offset, work->u, lanes, work->logit);
  } else {
    gm_product(K, d, level->slope, d, 1, level->offset, work->u, lanes, work->logit);
  }
  gm_responsibilities(pool, models, level, lanes, derivative, work, logp);
  if (logp && linear) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd q = vset(0);
      for (int j = 0; j < d; j++) {
        vd uj = LD(ROW(work->u, j) + v);
        q += vset(prec[j]) * uj * uj;
      }
      q = vset(level->log_norm[0]) - vset(0.5) * vmin(q, vset(GM_FAR));
      for (int m = 0; m < models->J; m++) AT(ROW(logp, m) + v) += q;
    }
  }
  if (derivative || pool->vector) {
    for (int j = 0; j < d; j++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd sum = vset(0);
        for (int k = 0; k < K; k++) {
          sum += LD(ROW(work->rho, k) + v) * LD(ROW(work->g, (size_t)k * d + j) + v);
        }
        AT(ROW(s, j) + v) = sum;
      }
    }
    return;
  }
  gm_product(d, K, level->slope, 1, d, NULL, work->rho, lanes, s);
  double total = 0;
  for (int m = 0; m < models->J; m++) total += level->coef[m];
  if (!linear) gm_product(d, K, prec, 1, d, NULL, work->rho, lanes, work->t);
  for (int j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd p = linear ? vset(total * prec[j]) : LD(ROW(work->t, j) + v);
      AT(ROW(s, j) + v) -= p * LD(ROW(work->u, j) + v);
    }
  }
}

/* Model scores s_j, after gm_score with want_g. A model of one component needs none. */
GM_INLINE void gm_model_scores(const gm_pool *pool, const gm_models *models, const gm_level *level,
                               size_t lanes, gm_score_work *work) {
  int K = pool->K, d = pool->d;
  for (int m = 0; m < models->J; m++) {
    const int *member = models->member + (size_t)m * K;
    const double *r = ROW(work->r, (size_t)m * K);
    if (level->coef[m] == 0 || models->size[m] == 1) continue;
    for (int j = 0; j < d; j++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd sum = vset(0);
        for (int i = 0; i < models->size[m]; i++) {
          int k = member[i];
          sum += LD(ROW(r, k) + v) * LD(ROW(work->g, (size_t)k * d + j) + v);
        }
        AT(ROW(work->s, (size_t)m * d + j) + v) = sum;
      }
    }
  }
}

/* Divergence of the guided score, after gm_model_scores. */
GM_INLINE void gm_divergence(const gm_pool *pool, const gm_models *models, const gm_level *level,
                             size_t lanes, gm_score_work *work, double *divergence) {
  int K = pool->K, d = pool->d;
  for (size_t v = 0; v < lanes; v += GM_VL) AT(divergence + v) = vset(0);
  for (int k = 0; k < K; k++) {
    const double *prec = level->precision + (pool->common ? 0 : (size_t)k * d);
    double trace = 0;
    for (int j = 0; j < d; j++) trace += prec[j];
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(divergence + v) -= vset(trace) * LD(ROW(work->rho, k) + v);
    }
  }
  for (int m = 0; m < models->J; m++) {
    const int *member = models->member + (size_t)m * K;
    double c = level->coef[m];
    if (c == 0 || models->size[m] == 1) continue;
    for (int i = 0; i < models->size[m]; i++) {
      int k = member[i];
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

/* Jacobian of the guided score (symmetric, d x d rows), after gm_model_scores. */
GM_INLINE void gm_jacobian(const gm_pool *pool, const gm_models *models, const gm_level *level,
                           size_t lanes, gm_score_work *work, double *H) {
  int K = pool->K, d = pool->d;
  memset(H, 0, sizeof(double) * d * d * lanes);
  for (int k = 0; k < K; k++) {
    const double *prec = level->precision + (pool->common ? 0 : (size_t)k * d);
    const double *rho = ROW(work->rho, k);
    if (!pool->vector) {
      for (int j = 0; j < d; j++) {
        double *h = ROW(H, (size_t)j * d + j);
        for (size_t v = 0; v < lanes; v += GM_VL) AT(h + v) -= vset(prec[j]) * LD(rho + v);
      }
      continue;
    }
    const double *V = pool->vector + (size_t)k * d * d;
    for (int b = 0; b < d; b++) {
      double *p = work->t; /* column b of P_k = V diag(prec) V', down to the diagonal */
      for (int a = 0; a <= b; a++) p[a] = 0;
      for (int i = 0; i < d; i++) {
        const double *column = V + (size_t)i * d;
        double f = prec[i] * column[b];
        for (int a = 0; a <= b; a++) p[a] += f * column[a];
      }
      for (int a = 0; a <= b; a++) {
        double *h = ROW(H, (size_t)b * d + a);
        for (size_t v = 0; v < lanes; v += GM_VL) AT(h + v) -= vset(p[a]) * LD(rho + v);
      }
    }
  }
  for (int m = 0; m < models->J; m++) {
    const int *member = models->member + (size_t)m * K;
    const double *s = ROW(work->s, (size_t)m * d);
    double c = level->coef[m];
    if (c == 0 || models->size[m] == 1) continue;
    for (int i = 0; i < models->size[m]; i++) {
      int k = member[i];
      const double *g = ROW(work->g, (size_t)k * d), *r = ROW(work->r, (size_t)m * K + k);
      double *u = work->t;
      for (int j = 0; j < d; j++) {
        for (size_t v = 0; v < lanes; v += GM_VL) {
          AT(ROW(u, j) + v) = LD(ROW(g, j) + v) - LD(ROW(s, j) + v);
        }
      }
      for (int b = 0; b < d; b++) {
        for (size_t v = 0; v < lanes; v += GM_VL) {
          vd w = vset(c) * LD(r + v) * LD(ROW(u, b) + v);
          for (int a = 0; a <= b; a++) {
            AT(ROW(H, (size_t)b * d + a) + v) += w * LD(ROW(u, a) + v);
          }
        }
      }
    }
  }
  for (int b = 0; b < d; b++) {
    for (int a = 0; a < b; a++) {
      memcpy(ROW(H, (size_t)a * d + b), ROW(H, (size_t)b * d + a), sizeof(double) * lanes);
    }
  }
}

#endif
