/* Levels, checks and plans of a program, the choice of the instruction set, and the threads. */
#include "gm.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "layout.h"

size_t gm_level_size(const gm_pool *pool) {
  size_t d = pool->d, K = pool->K;
  return d * (pool->common ? 1 : K) + K + d + d * K + (pool->vector ? 0 : d * K) + K;
}

/* S_k(t) = a^2 Sigma_k + b2 I has the eigenvectors of Sigma_k at every t. */
gm_status gm_level_fill(const gm_pool *pool, gm_level *level, double *table) {
  const double log_2pi = 1.8378770664093454836;
  size_t d = pool->d, K = pool->K, columns = pool->common ? 1 : K;
  double *precision = table, *log_norm = precision + d * columns, *origin = log_norm + K;
  double *mean = origin + d, *slope = mean + d * K;
  double *offset = pool->vector ? slope : slope + d * K;
  for (size_t k = 0; k < columns; k++) {
    double log_det = 0;
    for (size_t j = 0; j < d; j++) {
      double variance = level->a * level->a * pool->value[k * d + j] + level->b2;
      if (!(variance > 0)) return GM_ERR_SINGULAR;
      precision[k * d + j] = 1 / variance;
      log_det += log(variance);
    }
    log_norm[k] = -0.5 * ((double)d * log_2pi + log_det);
  }
  for (size_t k = columns; k < K; k++) log_norm[k] = log_norm[0];
  for (size_t j = 0; j < d; j++) {
    double least = pool->mean[j], most = least;
    for (size_t k = 1; k < K; k++) {
      least = fmin(least, pool->mean[k * d + j]);
      most = fmax(most, pool->mean[k * d + j]);
    }
    origin[j] = level->a * (least + 0.5 * (most - least));
  }
  for (size_t k = 0; k < K; k++) {
    offset[k] = 0;
    for (size_t j = 0; j < d; j++) {
      double m = level->a * pool->mean[k * d + j] - origin[j];
      double pm = precision[(pool->common ? 0 : k * d) + j] * m;
      mean[k * d + j] = m;
      if (!pool->vector) slope[k * d + j] = pm;
      offset[k] -= 0.5 * m * pm;
    }
  }
  level->precision = precision;
  level->log_norm = log_norm;
  level->origin = origin;
  level->mean = mean;
  level->slope = slope;
  level->offset = offset;
  return GM_OK;
}

static int in(int i, int n) { return i >= 0 && i < n; }

/* Operation by operation: every index that the engine will follow exists. */
gm_status gm_program_check(const gm_program *p, const gm_pool *pool, const gm_models *models) {
  int R = p->n_register, d = pool->d;
  if (!in(R - 1, GM_MAX_REGISTERS) || p->n_scalar < GM_OWN_SCALARS) return GM_ERR_PROGRAM;
  for (int i = 0; i < p->n_term; i++) {
    const gm_term *t = p->term + i;
    if (!in(t->reg, R) || !in(t->at, p->n_coef)) return GM_ERR_PROGRAM;
    if (t->per_coordinate && !in(t->at + d - 1, p->n_coef)) return GM_ERR_PROGRAM;
  }
  for (int i = 0; i < p->n_op; i++) {
    const gm_op *o = p->op + i;
    int ok = 0;
    switch (o->code) {
      case GM_EVAL:
        ok = in(o->to, R) && in(o->from, R) && o->to != o->from && in(o->at, p->n_level) &&
             (o->n < 0 || in(o->n + models->J - 1, p->n_scalar));
        break;
      case GM_NOISE: ok = in(o->to, R) && in(o->at, p->n_noise); break;
      case GM_LINEAR:
        ok = in(o->to, R) && in(o->n, GM_MAX_REGISTERS + 1) && in(o->at, p->n_term + 1) &&
             o->n <= p->n_term - o->at;
        break;
      case GM_DOT:
        ok = in(o->to, p->n_scalar) && in(o->from, R) && in(o->at, R) && in(o->n, p->n_coef - 1);
        break;
      case GM_END:
        ok = in(o->to, R) && in(o->n, p->n_coef) &&
             (p->derivative != GM_TRACE || p->coef[o->n] > 0);
        break;
      case GM_SAVE: ok = in(o->from, R) && in(o->at, p->n_output); break;
      case GM_SAVE_DIVERGENCE:
        ok = in(o->from, R) && in(o->at, p->n_scalar) && p->derivative == GM_TRACE;
        break;
      case GM_SAVE_JACOBIAN: ok = in(o->from, R) && p->derivative == GM_TANGENT; break;
      case GM_BEGIN: ok = in(o->to, R); break;
    }
    if (!ok) return GM_ERR_PROGRAM;
  }
  return GM_OK;
}

size_t gm_work_size(const gm_job *job) {
  gm_area area;
  /* rounded up to whole cache lines, and one between neighbours */
  size_t used = gm_layout(job->pool, job->models, job->program, job->lanes, NULL, &area);
  return (used + 15) / 8 * 8;
}

/* Particles in a block: the registers and tables of a block should stay in the L2 cache. */
size_t gm_lanes(const gm_pool *pool, const gm_models *models, const gm_program *program) {
  const size_t cache = 131072 / sizeof(double), least = 16, most = 512;
  gm_area area;
  size_t per_lane = (gm_layout(pool, models, program, 8, NULL, &area) + 7) / 8;
  size_t lanes = cache / per_lane / 8 * 8;
  return lanes < least ? least : lanes > most ? most : lanes;
}

double gm_block_cost(const gm_job *job) {
  const gm_program *p = job->program;
  double d = job->pool->d, K = job->pool->K, cost = 0;
  double score = K * (job->pool->vector ? 4 * d * d : 8 * d) + 20 * K * job->models->J;
  double square = p->derivative == GM_TANGENT ? d * d : 0, cube = square * d;
  for (int i = 0; i < p->n_op; i++) {
    switch (p->op[i].code) {
      case GM_EVAL:
        cost += score + 2 * cube + K * job->models->J * square;
        /* the precision matrices, once per block */
        if (job->pool->vector) cost += 3 * K * cube / (double)job->lanes;
        break;
      case GM_NOISE: cost += 20 * d; break;
      case GM_END: cost += 2 * cube + 20 * d; break;
      default: cost += 4 * d + square;
    }
  }
  return cost * (double)job->lanes;
}

const gm_engine *gm_engine_choose(const char *at_most) {
  int best = 2;
  if (at_most && !strcmp(at_most, "portable")) best = 0;
  if (at_most && !strcmp(at_most, "avx2")) best = 1;
#if defined(__GNUC__) && defined(__x86_64__)
  __builtin_cpu_init();
  if (best == 2 && gm_engine_avx512.run && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return &gm_engine_avx512;
  }
  if (best >= 1 && gm_engine_avx2.run && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma")) {
    return &gm_engine_avx2;
  }
#else
  (void)best;
#endif
  return &gm_engine_portable;
}

void gm_run(const gm_engine *engine, const gm_job *job, size_t from, size_t to, int op_from,
            int op_to, int threads, int keep, double *work, size_t work_size) {
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
#endif
  for (size_t block = from; block < to; block++) {
    size_t area = block - from;
#ifdef _OPENMP
    if (!keep) area = (size_t)omp_get_thread_num();
#else
    if (!keep) area = 0;
#endif
    engine->run(job, block, op_from, op_to, work + area * work_size);
  }
}
