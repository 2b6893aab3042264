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

#include "groups.h"
#include "strength_of_q.h"

/* s = sum_g coef_g A_g, without the part in x. */
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

/* The same sum by rho, which overwrites the e_k, if all of them have been kept. */
GM_INLINE void gm_assemble_kept(const gm_pool *pool, const gm_models *models,
                                const gm_level *level, size_t lanes, gm_score_work *work,
                                double *s) {
  int K = models->first[models->G], d = pool->d;
  double *t = work->slope, *rho = work->e;
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

/* The same sum for two levels that differ in their coefficients alone, with their rows one after
 * the other: R rows of both scores, from row j on, of C vectors. b: the part in u of each. */
GM_INLINE void gm_assemble_tile(const int R, const int C, const int apart, const size_t G,
                                const int *first, const double *offset, const double *gain,
                                const double *b, const size_t d, const size_t lanes,
                                const double *e, const double *coef, const double *u, double *s,
                                double *s_twin) {
  vd sum[4][2], other[4][2];
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) sum[r][c] = other[r][c] = vset(0);
  }
  for (size_t g = 0; g < G; g++) {
    vd slope[4][2], by_u[4][2];
    GM_UNROLL
    for (int r = 0; r < R; r++) {
      GM_UNROLL
      for (int c = 0; c < C; c++) slope[r][c] = by_u[r][c] = vset(0);
    }
    for (size_t k = first[g]; k < (size_t)first[g + 1]; k++) {
      vd ek[2];
      GM_UNROLL
      for (int c = 0; c < C; c++) ek[c] = LD(ROW(e, k) + c * GM_VL);
      GM_UNROLL
      for (int r = 0; r < R; r++) {
        GM_UNROLL
        for (int c = 0; c < C; c++) {
          slope[r][c] = vfma(vset(offset[k * d + r]), ek[c], slope[r][c]);
          if (apart) by_u[r][c] = vfma(vset(gain[k * d + r]), ek[c], by_u[r][c]);
        }
      }
    }
    GM_UNROLL
    for (int c = 0; c < C; c++) {
      vd by = LD(ROW(coef, g) + c * GM_VL), by_other = LD(ROW(coef, G + g) + c * GM_VL);
      GM_UNROLL
      for (int r = 0; r < R; r++) {
        vd t = slope[r][c];
        if (apart) t = vfma(by_u[r][c], LD(ROW(u, r) + c * GM_VL), t);
        sum[r][c] = vfma(by, t, sum[r][c]);
        other[r][c] = vfma(by_other, t, other[r][c]);
      }
    }
  }
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) {
      vd x = LD(ROW(u, r) + c * GM_VL);
      if (!apart) {
        sum[r][c] = vfma(vset(b[2 * r]), x, sum[r][c]);
        other[r][c] = vfma(vset(b[2 * r + 1]), x, other[r][c]);
      }
      AT(ROW(s, r) + c * GM_VL) = sum[r][c];
      AT(ROW(s_twin, r) + c * GM_VL) = other[r][c];
    }
  }
}

static GM_NOINLINE void gm_assemble_both(const gm_pool *pool, const gm_models *models,
                                         const gm_level *level, const gm_level *twin, size_t lanes,
                                         const gm_score_work *work, double *s, double *s_twin) {
  enum { most = 4 };
  const int wide = GM_VL == 8 ? 2 : 1, *first = models->first;
  const size_t d = pool->d, G = models->G;
  for (size_t j = 0, rows; j < d; j += rows) {
    const double *offset = level->offset + j, *gain = level->gain + j;
    const double *e = work->e, *coef = work->coef, *u = ROW(work->u, j);
    double b[2 * most] = {0}, *to = ROW(s, j), *to_twin = ROW(s_twin, j);
    rows = d - j >= most ? most : d - j >= 2 ? 2 : 1;
    for (size_t r = 0; pool->common && r < rows; r++) {
      b[2 * r] = level->total * gain[r];
      b[2 * r + 1] = twin->total * gain[r];
    }
    for (size_t v = 0, step; v < lanes; v += step) {
      int both = pool->common && v + wide * GM_VL <= lanes;
      step = (both ? wide : 1) * GM_VL;
#define GM_RUN(R, C, apart)                                                                     \
  gm_assemble_tile(R, C, apart, G, first, offset, gain, b, d, lanes, e + v, coef + v, u + v,    \
                   to + v, to_twin + v)
      switch (8 * rows + 2 * pool->common + both) {
        case 8 * most + 3: GM_RUN(most, wide, 0); break;
        case 16 + 3: GM_RUN(2, wide, 0); break;
        case 8 + 3: GM_RUN(1, wide, 0); break;
        case 8 * most + 2: GM_RUN(most, 1, 0); break;
        case 16 + 2: GM_RUN(2, 1, 0); break;
        case 8 + 2: GM_RUN(1, 1, 0); break;
        case 8 * most: GM_RUN(most, 1, 1); break;
        case 16: GM_RUN(2, 1, 1); break;
        case 8: GM_RUN(1, 1, 1); break;
      }
#undef GM_RUN
    }
  }
}

/* The score for few components that share a covariance, in few dimensions (as a reduced mixture
 * has, see R/reduction.R). A vector of particles stays in registers from x to s. For levels in
 * which one model at most needs exponentials: more share them by their groups. */
enum { GM_FEW_COMPONENTS = 4, GM_FEW_DIMENSIONS = 4 };

/* Is the model one component, of responsibility 1? */
GM_INLINE int gm_is_single(const gm_models *models, int j) {
  int g = models->group[(size_t)j * models->G];
  return models->groups[j] == 1 && models->first[g + 1] - models->first[g] == 1;
}

GM_INLINE void gm_score_few(const int K, const int d, const gm_models *models,
                            const gm_level *level, const double *x, size_t stride, size_t lanes,
                            double *s) {
  /* of single components; the coefficient of the other model, and what it adds to a logit */
  double one[GM_FEW_COMPONENTS] = {0}, c = 0, by[GM_FEW_COMPONENTS] = {0};
  for (int j = 0; j < models->J; j++) {
    if (level->coef[j] == 0) continue;
    if (gm_is_single(models, j)) {
      one[models->first[models->group[(size_t)j * models->G]]] += level->coef[j];
      continue;
    }
    c = level->coef[j];
    for (int g = 0; g < models->G; g++) {
      for (int k = models->first[g]; k < models->first[g + 1]; k++) {
        by[k] = models->shift[(size_t)j * models->G + g];
      }
    }
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
    if (c != 0) {
      vd e[GM_FEW_COMPONENTS], top = l[0] + vset(by[0]), sum = vset(0);
      GM_UNROLL
      for (int k = 0; k < K; k++) {
        e[k] = l[k] + vset(by[k]);
        top = vmax(top, e[k]);
      }
      GM_UNROLL
      for (int k = 0; k < K; k++) {
        e[k] = vexp(e[k] - top);
        sum += e[k];
      }
      vd weight = vset(c) / sum;
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

/* Do a level and its twin (NULL: there is none) qualify for these loops, if their size does? */
GM_INLINE int gm_is_few(const gm_pool *pool, const gm_models *models, const gm_level *level,
                        const gm_level *twin) {
  if (!pool->common || level->far || level->lack != 0 || (twin && twin->lack != 0)) return 0;
  int softmaxes = 0;
  for (int j = 0; j < models->J; j++) {
    int used = level->coef[j] != 0 || (twin && twin->coef[j] != 0);
    softmaxes += used && !gm_is_single(models, j);
  }
  return softmaxes <= 1;
}

/* Runs the loops if there are some of this size. */
GM_INLINE int gm_try_few(const gm_pool *pool, const gm_models *models, const gm_level *level,
                         const double *x, size_t stride, size_t lanes, double *s) {
#define GM_FEW(K, d)                                                 \
  case 8 * (d) + (K):                                                \
    gm_score_few(K, d, models, level, x, stride, lanes, s);          \
    return 1
  switch (8 * pool->d + models->first[models->G]) {
    GM_FEW(2, 1); GM_FEW(3, 1); GM_FEW(4, 1);
    GM_FEW(2, 2); GM_FEW(3, 2); GM_FEW(4, 2);
    GM_FEW(2, 3); GM_FEW(3, 3); GM_FEW(4, 3);
    GM_FEW(3, 4);
  }
#undef GM_FEW
  return 0;
}

/* The sums of all groups at x; A_g only if the score is wanted. */
GM_INLINE void gm_group_sums(const gm_pool *pool, const gm_models *models, const gm_level *level,
                             gm_path path, const double *x, size_t stride, size_t lanes, int score,
                             gm_score_work *work) {
  int K = models->first[models->G], d = pool->d, G = models->G;
  int derivative = path == GM_DERIVED, kept = derivative || path == GM_KEPT;
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
      gm_group(pool, models, level, g, lanes, score, work);
    }
  }
}

/* The log-odds of the class of a level's push. */
GM_INLINE void gm_log_odds(const gm_pool *pool, const gm_models *models, const gm_level *level,
                           gm_path path, const double *x, size_t stride, size_t lanes,
                           gm_score_work *work, double *odds) {
  const gm_push *push = &level->push;
  double *outside = ROW(work->push, 1);
  gm_group_sums(pool, models, level, path, x, stride, lanes, 0, work);
  memset(work->coef, 0, sizeof(double) * models->G * lanes);
  gm_mix(models, push->inside, 0, lanes, work, work->push, NULL);
  gm_mix(models, push->outside, 0, lanes, work, outside, NULL);
  for (size_t v = 0; v < lanes; v += GM_VL) {
    AT(odds + v) = LD(work->push + v) - LD(outside + v) + vset(push->log_odds);
  }
}

/* The coefficients of a level, and log p_j (or NULL), from the sums of its groups. */
GM_INLINE void gm_mix_all(const gm_pool *pool, const gm_models *models, const gm_level *level,
                          gm_path path, size_t stride, size_t lanes, gm_score_work *work,
                          double *logp) {
  int K = models->first[models->G], d = pool->d, G = models->G, derivative = path == GM_DERIVED;
  const gm_push *push = level->push.kind == GM_PUSH_NONE ? NULL : &level->push;
  memset(work->coef, 0, sizeof(double) * G * lanes);
  for (int j = 0; j < models->J; j++) {
    double *r = derivative ? ROW(work->r, (size_t)j * K) : NULL;
    double *row = logp ? logp + j * stride : NULL;
    if (push && (j == push->inside || j == push->outside)) {
      /* no other model shares their groups, so their coefficients can be multiplied below */
      double *own = ROW(work->push, j == push->outside);
      gm_mix(models, j, 1, lanes, work, own, r);
      if (row) memcpy(row, own, sizeof(double) * lanes);
    } else if (level->coef[j] != 0 || logp) {
      gm_mix(models, j, level->coef[j], lanes, work, row, r);
    }
  }
  if (push) {
    gm_push_rows(push, level->coef[push->inside], work->asked, work->apart, lanes, work->push);
    for (int i = 0; i < 2; i++) {
      int j = i ? push->outside : push->inside;
      const int *group = models->group + (size_t)j * G;
      for (int g = 0; g < models->groups[j]; g++) {
        gm_scale_rows(ROW(work->coef, group[g]), 1, ROW(work->push, i), lanes);
      }
    }
  }
  if (logp && pool->common) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd q = vset(0);
      /* otherwise the logits lack the norm only */
      for (int j = 0; !level->far && j < d; j++) {
        vd uj = LD(ROW(work->u, j) + v);
        q += vset(level->precision[j]) * uj * uj;
      }
      q = vset(level->log_norm) - vset(0.5) * vmin(q, vset(GM_FAR));
      for (int m = 0; m < models->J; m++) AT(logp + m * stride + v) += q;
    }
  }
}

/* The score of a level from these sums, see gm_score(). */
GM_INLINE void gm_of_sums(const gm_pool *pool, const gm_models *models, const gm_level *level,
                          gm_path path, size_t stride, size_t lanes, gm_score_work *work,
                          double *s) {
  int K = models->first[models->G], d = pool->d;
  if (path == GM_KEPT) {
    gm_assemble_kept(pool, models, level, lanes, work, s);
  } else if (path != GM_DERIVED) {
    gm_assemble(pool, models, level, lanes, work, s, stride);
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
}

/* Computes the guided score of the particles x, or the level's other quantity, into s, and log p_j
 * into logp; each may be NULL. Rows of these three lie `stride` apart. The derivative keeps g, r
 * and rho. s_twin receives the value of the level `twin` (NULL: there is none), which differs in
 * its coefficients alone and so shares the sums. With one covariance for all, x'Px drops out of the
 * softmax: logits are linear in u = x - origin, and s_j = sum_k r_jk slope_k - P u. This form is
 * right at any distance, but not for components that are far apart (`far`). */
GM_INLINE void gm_score(const gm_pool *pool, const gm_models *models, const gm_level *level,
                        const gm_level *twin, gm_path path, const double *x, size_t stride,
                        size_t lanes, gm_score_work *work, double *s, double *s_twin,
                        double *logp) {
  /* loops, so that the code of a level is not inlined for each of them */
  int levels = twin ? 2 : 1;
  int few = s && !logp && path != GM_DERIVED && level->push.kind == GM_PUSH_NONE &&
            gm_is_few(pool, models, level, twin);
  for (int i = 0; few && i < levels; i++) {
    few = gm_try_few(pool, models, i ? twin : level, x, stride, lanes, i ? s_twin : s);
  }
  if (few) return;
  int both = twin && path == GM_KEPT;
  gm_group_sums(pool, models, level, path, x, stride, lanes, s != NULL, work);
  for (int i = 0; i < levels; i++) {
    const gm_level *of = i ? twin : level;
    gm_score_work at = *work;
    if (both) at.coef = ROW(work->coef, i * models->G);
    gm_mix_all(pool, models, of, path, stride, lanes, &at, i ? NULL : logp);
    if (s && !both) gm_of_sums(pool, models, of, path, stride, lanes, &at, i ? s_twin : s);
  }
  if (both) {
    gm_assemble_both(pool, models, level, twin, lanes, work, s, s_twin);
  }
  for (int i = 0; s && i < levels; i++) {
    double *to = i ? s_twin : s, lack = (i ? twin : level)->lack;
    for (int j = 0; lack != 0 && j < pool->d; j++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        AT(to + j * stride + v) += vset(lack) * LD(x + j * stride + v);
      }
    }
  }
}

#endif
