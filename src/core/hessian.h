/* The derivative Ds of the guided score, after gm_score() has kept g, r and rho; see score.h. */
#ifndef GM_HESSIAN_H
#define GM_HESSIAN_H

#include "score.h"

/* Loops over all components k of model m, as for (GM_MEMBERS(m, k)). */
#define GM_MEMBERS(m, k) \
  int i_ = 0, k = models->first[models->group[(size_t)(m) * models->G]]; \
  i_ < models->groups[m]; \
  k = gm_next_member(models, m, k, &i_)

GM_INLINE int gm_next_member(const gm_models *models, int m, int k, int *i) {
  const int *group = models->group + (size_t)m * models->G;
  if (k + 1 < models->first[group[*i] + 1]) return k + 1;
  return ++*i < models->groups[m] ? models->first[group[*i]] : -1;
}

GM_INLINE int gm_pushed(const gm_level *level, int m) {
  return level->push.kind != GM_PUSH_NONE && (m == level->push.inside || m == level->push.outside);
}

/* A model of one component has no spread of its g_k, so it adds nothing to the derivative. */
GM_INLINE int gm_spreads(const gm_models *models, const gm_level *level, int m) {
  int g = models->group[(size_t)m * models->G];
  return (level->coef[m] != 0 || gm_pushed(level, m)) &&
         (models->groups[m] > 1 || models->first[g + 1] - models->first[g] > 1);
}

/* The coefficient of model m at some particles, times `outer`. */
GM_INLINE vd gm_outer(const gm_level *level, const gm_score_work *work, int m, size_t lanes,
                      size_t v) {
  if (!gm_pushed(level, m)) return vset(level->outer * level->coef[m]);
  return vset(level->outer) * LD(ROW(work->push, m == level->push.outside) + v);
}

/* A push adds D psi (s_in - s_out)' to the derivative. D psi is the derivative of psi by the
 * log-odds times their gradient, which is s_in - s_out again. These functions give the factor of
 * the square of the difference, and coordinate j of the difference. */
GM_INLINE vd gm_push_outer(const gm_level *level, const gm_score_work *work, size_t lanes,
                           size_t v) {
  return vset(level->outer) * LD(ROW(work->push, 2) + v);
}

GM_INLINE vd gm_push_gap(const gm_pool *pool, const gm_level *level, const gm_score_work *work,
                         int j, size_t lanes, size_t v) {
  size_t d = pool->d;
  return LD(ROW(work->s, level->push.inside * d + j) + v) -
         LD(ROW(work->s, level->push.outside * d + j) + v);
}

/* Model scores s_j; gm_score has kept its parts for the derivative before. */
GM_INLINE void gm_model_scores(const gm_pool *pool, const gm_models *models, const gm_level *level,
                               size_t lanes, gm_score_work *work) {
  int K = models->first[models->G], d = pool->d;
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m) && !gm_pushed(level, m)) continue;
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
    for (GM_MEMBERS(m, k)) {
      const double *r = ROW(work->r, (size_t)m * K + k);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          vd h = LD(ROW(work->g, (size_t)k * d + j) + v) - LD(ROW(work->s, (size_t)m * d + j) + v);
          q += h * h;
        }
        AT(divergence + v) += gm_outer(level, work, m, lanes, v) * (LD(r + v) * q);
      }
    }
  }
  for (size_t v = 0; level->push.kind != GM_PUSH_NONE && v < lanes; v += GM_VL) {
    vd q = vset(0);
    for (int j = 0; j < d; j++) {
      vd h = gm_push_gap(pool, level, work, j, lanes, v);
      q += h * h;
    }
    AT(divergence + v) += gm_push_outer(level, work, lanes, v) * q;
  }
}

/* Entry a, b of B_k of the full form. For the score B_k = -P, read from P if P has been formed. */
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
          vd w = gm_outer(level, work, m, lanes, v) * LD(r + v) * LD(ROW(u, b) + v);
          for (int a = 0; a <= b; a++) {
            AT(ROW(H, (size_t)b * n + a) + v) += w * LD(ROW(u, a) + v);
          }
        }
      }
    }
  }
  for (int b = 0; level->push.kind != GM_PUSH_NONE && b < n; b++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd w = gm_push_outer(level, work, lanes, v) * gm_push_gap(pool, level, work, b, lanes, v);
      for (int a = 0; a <= b; a++) {
        AT(ROW(H, (size_t)b * n + a) + v) += w * gm_push_gap(pool, level, work, a, lanes, v);
      }
    }
  }
  for (int b = 0; b < n; b++) {
    for (int a = 0; a < b; a++) {
      memcpy(ROW(H, (size_t)a * n + b), ROW(H, (size_t)b * n + a), sizeof(double) * lanes);
    }
  }
}

/* Of one vector of particles: entry i, j <= i, of a triangle, and entry i of a vector. */
#define TRIANGLE(A, i, j) ((A) + ((size_t)(i) * ((i) + 1) / 2 + (j)) * GM_VL)
#define PLACE(z, i) ((z) + (size_t)(i) * GM_VL)

/* A += sum_t w_t u_t u_t' over T terms; u: n vectors u_t and then w_t, for each of them. */
GM_INLINE void gm_rank_add(const int T, int n, const double *u, double *A) {
  for (int b = 0; b < n; b++) {
    double *row = TRIANGLE(A, b, 0);
    vd w[4];
    GM_UNROLL
    for (int t = 0; t < T; t++) {
      w[t] = LD(PLACE(u, t * (n + 1) + n)) * LD(PLACE(u, t * (n + 1) + b));
    }
    for (int a = 0; a <= b; a++) {
      vd sum = LD(PLACE(row, a));
      GM_UNROLL
      for (int t = 0; t < T; t++) sum = vfma(w[t], LD(PLACE(u, t * (n + 1) + a)), sum);
      AT(PLACE(row, a)) = sum;
    }
  }
}

/* A = by Ds for the vector of particles at v, as a triangle, after gm_model_scores. u: scratch of
 * 4 d + 4 vectors. */
static GM_NOINLINE void gm_curvature(const gm_pool *pool, const gm_models *models,
                                     const gm_level *level, size_t lanes, size_t v,
                                     const gm_score_work *work, double by, double *u, double *A) {
  int K = models->first[models->G], d = pool->d, T = 0;
  for (int b = 0; b < d; b++) {
    for (int a = pool->vector ? 0 : b; a <= b; a++) {
      vd sum = vset(a == b ? level->lack : 0);
      for (int k = 0; k < K; k++) {
        double gain = pool->vector ? gm_gain_entry(pool, models, level, work, k, a, b)
                                   : level->gain[(pool->common ? 0 : (size_t)k * d) + b];
        sum = vfma(vset(gain), LD(ROW(work->rho, k) + v), sum);
      }
      AT(TRIANGLE(A, b, a)) = vset(by) * sum;
    }
    for (int a = 0; !pool->vector && a < b; a++) AT(TRIANGLE(A, b, a)) = vset(0);
  }
  for (int m = 0; m < models->J; m++) {
    if (!gm_spreads(models, level, m)) continue;
    const double *s = ROW(work->s, (size_t)m * d) + v;
    vd outer = vset(by) * gm_outer(level, work, m, lanes, v);
    for (GM_MEMBERS(m, k)) {
      const double *g = ROW(work->g, (size_t)k * d) + v;
      double *to = PLACE(u, T * (d + 1));
      for (int j = 0; j < d; j++) AT(PLACE(to, j)) = LD(ROW(g, j)) - LD(ROW(s, j));
      AT(PLACE(to, d)) = outer * LD(ROW(work->r, (size_t)m * K + k) + v);
      if (++T < 4) continue;
      gm_rank_add(4, d, u, A);
      T = 0;
    }
  }
  if (level->push.kind != GM_PUSH_NONE) {
    double *to = PLACE(u, T++ * (d + 1));
    for (int j = 0; j < d; j++) AT(PLACE(to, j)) = gm_push_gap(pool, level, work, j, lanes, v);
    AT(PLACE(to, d)) = vset(by) * gm_push_outer(level, work, lanes, v);
  }
  switch (T) {
    case 1: gm_rank_add(1, d, u, A); break;
    case 2: gm_rank_add(2, d, u, A); break;
    case 3: gm_rank_add(3, d, u, A); break;
    case 4: gm_rank_add(4, d, u, A); break;
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
    for (GM_MEMBERS(m, k)) {
      const double *g = ROW(work->g, (size_t)k * d), *r = ROW(work->r, (size_t)m * K + k);
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd q = vset(0);
        for (int j = 0; j < d; j++) {
          q += (LD(ROW(g, j) + v) - LD(ROW(s, j) + v)) * LD(ROW(x, j) + v);
        }
        q *= gm_outer(level, work, m, lanes, v) * LD(r + v);
        for (int j = 0; j < d; j++) {
          AT(ROW(y, j) + v) += q * (LD(ROW(g, j) + v) - LD(ROW(s, j) + v));
        }
      }
    }
  }
  for (size_t v = 0; level->push.kind != GM_PUSH_NONE && v < lanes; v += GM_VL) {
    vd q = vset(0);
    for (int j = 0; j < d; j++) {
      q += gm_push_gap(pool, level, work, j, lanes, v) * LD(ROW(x, j) + v);
    }
    q *= gm_push_outer(level, work, lanes, v);
    for (int j = 0; j < d; j++) {
      AT(ROW(y, j) + v) += q * gm_push_gap(pool, level, work, j, lanes, v);
    }
  }
}

#endif
