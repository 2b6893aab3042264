/* Levels, checks and plans of a program, the choice of the instruction set, and the threads. */
#include "gm.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "layout.h"

size_t gm_models_size(int K, int J) {
  /* order, first, groups, group; log_weight, shift */
  size_t ints = K + (K + 1) + J + (size_t)K * J;
  return (ints * sizeof(int) + sizeof(double) - 1) / sizeof(double) + K + (size_t)K * J;
}

/* Do all models give a and b the same weights, up to a constant factor? */
static int alike(int K, int J, const double *log_weight, int a, double of_a, int b, double of_b) {
  for (int j = 0; j < J; j++) {
    double x = log_weight[(size_t)j * K + a], y = log_weight[(size_t)j * K + b];
    if ((x > -INFINITY) != (y > -INFINITY)) return 0;
    double scale = fabs(x) + fabs(y) + fabs(of_a) + fabs(of_b) + 1;
    if (x > -INFINITY && fabs((x - of_a) - (y - of_b)) > 1e-14 * scale) return 0;
  }
  return 1;
}

/* log_weight is K x J, -Inf where a component is not in a model. */
gm_status gm_models_fill(int K, int J, const double *log_weight, gm_models *models,
                         double *table) {
  double *base = table, *shift = base + K;
  int *order = (int *)(shift + (size_t)K * J), *first = order + K, *groups = first + K + 1;
  int *group = groups + J, *taken = group, G = 0, n = 0;
  memset(taken, 0, sizeof(int) * K);
  for (int a = 0; a < K; a++) {
    int j = 0;
    while (j < J && !(log_weight[(size_t)j * K + a] > -INFINITY)) j++;
    if (j == J || taken[a]) continue;
    first[G++] = n;
    double of_a = log_weight[(size_t)j * K + a];
    for (int b = a; b < K; b++) {
      double of_b = log_weight[(size_t)j * K + b];
      if (taken[b] || !(of_b > -INFINITY) || !alike(K, J, log_weight, a, of_a, b, of_b)) continue;
      base[n] = of_b;
      order[n++] = b;
      taken[b] = 1;
    }
  }
  first[G] = n;
  for (int j = 0; j < J; j++) {
    groups[j] = 0;
    for (int g = 0; g < G; g++) {
      double w = log_weight[(size_t)j * K + order[first[g]]];
      shift[(size_t)j * G + g] = w - base[first[g]];
      if (w > -INFINITY) group[(size_t)j * G + groups[j]++] = g;
    }
    if (groups[j] == 0) return GM_ERR_PROGRAM;
  }
  *models = (gm_models){J, G, order, first, groups, group, base, shift};
  return GM_OK;
}

size_t gm_level_size(const gm_pool *pool, gm_want want) {
  size_t d = pool->d, K = pool->K, tables = pool->vector ? 1 : pool->common ? 2 : 4;
  if (want != GM_SCORE && !pool->vector) tables++;
  return 2 * d * (pool->common ? 1 : K) + d + K + tables * d * K;
}

/* The eigenvalue of B_k, from a variance of Sigma_k and its precision at the level. */
static double gain_of(const gm_level *level, double value, double precision) {
  if (level->want == GM_DENOISED) return level->a * value * precision;
  return level->want == GM_NOISE_IN ? sqrt(level->b2) * precision : -precision;
}

/* The coefficient of x in (x + b^2 s)/a beyond sum_k rho_k v_k. It is (1 - c) x/a if the
 * coefficients sum to c. A sum that misses 1 by rounding, as (1 + eta) - eta does, counts as 1. */
static double lack_of(const gm_level *level, int J) {
  double size = 1, total = level->total;
  for (int j = 0; j < J; j++) size += fabs(level->coef[j]);
  int one = fabs(1 - total) <= 1e-15 * J * size;
  return level->want != GM_DENOISED || one ? 0 : (1 - total) / level->a;
}

/* S_k(t) = a^2 Sigma_k + b2 I has the eigenvectors of Sigma_k at every t. */
gm_status gm_level_fill(const gm_pool *pool, const gm_models *models, gm_level *level,
                        double *table) {
  const double log_2pi = 1.8378770664093454836;
  /* Logits that are linear in x, or in x and the means from one origin, have an error of 1e-16
   * times the square of these many standard deviations. */
  const double far = 500;
  size_t d = pool->d, K = models->first[models->G], columns = pool->common ? 1 : pool->K;
  double *precision = table, *gain = precision + d * columns, *origin = gain + d * columns;
  double *constant = origin + d, *mean = constant + pool->K, *slope = mean + d * pool->K;
  double *root = slope + d * pool->K, *root_mean = root + d * pool->K, reach = 0;
  double *offset = slope;
  if (level->want != GM_SCORE) offset = pool->common ? root : root_mean + d * pool->K;
  for (size_t j = 0; j < d; j++) {
    double least = INFINITY, most = -INFINITY;
    for (size_t k = 0; k < K; k++) {
      least = fmin(least, pool->mean[models->order[k] * d + j]);
      most = fmax(most, pool->mean[models->order[k] * d + j]);
    }
    origin[j] = pool->vector ? 0 : level->a * (least + 0.5 * (most - least));
  }
  for (size_t k = 0; k < K; k++) {
    size_t of = models->order[k];
    if (k == 0 || !pool->common) {
      double log_det = 0;
      for (size_t j = 0; j < d; j++) {
        double value = pool->value[(pool->common ? 0 : of * d) + j];
        double variance = level->a * level->a * value + level->b2;
        if (!(variance > 0) || !isfinite(1 / variance)) return GM_ERR_SINGULAR;
        precision[k * d + j] = 1 / variance;
        gain[k * d + j] = gain_of(level, value, 1 / variance);
        log_det += log(variance);
      }
      level->log_norm = -0.5 * ((double)d * log_2pi + log_det);
    }
    const double *P = precision + (pool->common ? 0 : k * d);
    double half = 0;
    for (size_t j = 0; j < d; j++) {
      double m = level->a * pool->mean[of * d + j] - origin[j];
      mean[k * d + j] = m;
      half += 0.5 * m * P[j] * m;
      if (pool->vector) continue;
      slope[k * d + j] = P[j] * m;
      if (level->want == GM_DENOISED) {
        const double *B = gain + (pool->common ? 0 : k * d);
        offset[k * d + j] = level->b2 * P[j] * pool->mean[of * d + j] + B[j] * origin[j];
      } else if (level->want == GM_NOISE_IN) {
        offset[k * d + j] = -sqrt(level->b2) * slope[k * d + j];
      }
      if (pool->common) continue;
      root[k * d + j] = sqrt(0.5 * P[j]);
      root_mean[k * d + j] = root[k * d + j] * m;
    }
    reach = fmax(reach, 2 * half);
    constant[k] = models->log_weight[k] + (pool->common ? -half : level->log_norm);
  }
  level->far = !pool->vector && !(reach <= far * far);
  for (size_t j = 0; level->far && j < d; j++) origin[j] = 0;
  for (size_t k = 0; level->far && k < K; k++) {
    if (pool->common) constant[k] = models->log_weight[k];
    for (size_t j = 0; j < d; j++) {
      mean[k * d + j] = level->a * pool->mean[models->order[k] * d + j];
    }
  }
  level->total = 0;
  for (int j = 0; j < models->J; j++) level->total += level->coef[j];
  level->lack = lack_of(level, models->J);
  if (!isfinite(level->lack)) return GM_ERR_FORGOTTEN;
  level->outer = 1;
  if (level->want == GM_DENOISED) level->outer = level->b2 > 0 ? level->a / level->b2 : 0;
  if (level->want == GM_NOISE_IN) level->outer = level->b2 > 0 ? -1 / sqrt(level->b2) : 0;
  level->start = level->want == GM_DENOISED ? pool->mean : NULL;
  level->precision = precision;
  level->gain = gain;
  level->origin = origin;
  level->constant = constant;
  level->mean = mean;
  level->slope = slope;
  level->offset = offset;
  level->root = root;
  level->root_mean = root_mean;
  return GM_OK;
}

const gm_operation gm_operations[GM_CODES] = {
#define GM_OP(CODE, name, to, from, at, n, when, frame, ...) \
  {#name, GM_##to, GM_##from, GM_##at, GM_##n, GM_##when, GM_##frame},
#include "operations.h"
#undef GM_OP
};

static int in(int i, int n) { return i >= 0 && i < n; }

/* The conditions in the last columns of operations.h. */
static int is_valid(const gm_program *p, const gm_op *o, int d) {
  switch ((gm_code)o->code) {
#define GM_OP(CODE, name, to, from, at, n, when, frame, valid, ...) case GM_##CODE: return valid;
#include "operations.h"
#undef GM_OP
    case GM_CODES: break;
  }
  return 0;
}

static size_t matrix_of(const gm_program *p, const gm_op *o, int d) {
  (void)p, (void)d;
  switch ((gm_code)o->code) {
#define GM_OP(CODE, name, to, from, at, n, when, frame, valid, matrix, ...) \
  case GM_##CODE: return (size_t)(matrix);
#include "operations.h"
#undef GM_OP
    case GM_CODES: break;
  }
  return 0;
}

static double cost_of(const gm_job *job, const gm_op *o) {
  const gm_program *p = job->program;
  double d = job->pool->d, K = job->pool->K, J = job->models->J;
  double score = K * (job->pool->vector ? 4 * d * d : 8 * d) + 20 * K * J, forming = 0;
  double square = p->derivative == GM_TANGENT ? d * d : 0, cube = square * d;
  /* the precision matrices, made once per block */
  if (job->pool->vector && (cube > 0 || d <= GM_MAX_PRECISION)) {
    forming = 2 * K * d * d * d / (double)job->lanes;
  }
  switch ((gm_code)o->code) {
#define GM_OP(CODE, name, to, from, at, n, when, frame, valid, matrix, cost) \
  case GM_##CODE: return cost;
#include "operations.h"
#undef GM_OP
    case GM_CODES: break;
  }
  return 0;
}

/* Does the register, level or table entry of a field exist? */
static int field_exists(const gm_program *p, gm_field field, int i, const gm_op *o, int J) {
  switch (field) {
    case GM_MAYBE: return i < 0 || in(i, p->n_register);
    case GM_READ:
    case GM_WRITE:
    case GM_CHANGE:
    case GM_POINT: return in(i, p->n_register);
    case GM_LEVEL: return in(i, p->n_level);
    case GM_SCALAR: return in(i, p->n_scalar);
    case GM_LOGP: return i < 0 || in(i + J - 1, p->n_scalar);
    case GM_NOISES: return in(i, p->n_noise);
    case GM_OUTPUTS: return in(i, p->n_output);
    case GM_TERMS: return in(i, p->n_term + 1) && o->n <= p->n_term - i;
    case GM_COUNT: return in(i, GM_MAX_REGISTERS + 1);
    case GM_COEF: return in(i, p->n_coef);
    case GM_CALLS: return i >= 0;
    case GM_NOTHING:
    case GM_ALIVE: break;
  }
  return 1;
}

static int may_come(gm_when when, gm_derivative derivative) {
  switch (when) {
    case GM_PLAIN: return derivative == GM_NONE;
    case GM_WITHOUT_TRACE: return derivative != GM_TRACE;
    case GM_WITH_TRACE: return derivative == GM_TRACE;
    case GM_WITH_TANGENT: return derivative == GM_TANGENT;
    case GM_ALWAYS: break;
  }
  return 1;
}

/* Looks at a program once. It fills in how the program is run, and checks for every operation that
 * all indices exist. */
gm_status gm_program_scan(gm_program *p, const gm_pool *pool, const gm_models *models) {
  int d = pool->d, J = models->J, point = -1, level = -1, curved = 0;
  p->matrix = 0;
  p->roots = 0;
  if (!in(p->n_register - 1, GM_MAX_REGISTERS) || p->n_scalar < GM_OWN_SCALARS) {
    return GM_ERR_PROGRAM;
  }
  for (int i = 0; i < p->n_term; i++) {
    const gm_term *t = p->term + i;
    if (!in(t->reg, p->n_register) || !in(t->at, p->n_coef)) return GM_ERR_PROGRAM;
    if (t->per_coordinate && !in(t->at + d - 1, p->n_coef)) return GM_ERR_PROGRAM;
  }
  for (int i = 0; i < p->n_op; i++) {
    const gm_op *o = p->op + i;
    if (!in(o->code, GM_CODES)) return GM_ERR_PROGRAM;
    const gm_operation *is = gm_operations + o->code;
    int writes = is->to == GM_WRITE || is->to == GM_MAYBE || is->to == GM_CHANGE;
    int ok = field_exists(p, is->to, o->to, o, J) && field_exists(p, is->from, o->from, o, J) &&
             field_exists(p, is->at, o->at, o, J) && field_exists(p, is->n, o->n, o, J) &&
             may_come(is->when, p->derivative) && is_valid(p, o, d);
    /* a register must not be written while it is read, except by sums */
    if (writes && is->from != GM_NOTHING && o->to == o->from) ok = 0;
    if (is->from == GM_POINT) {
      curved = 1;
      /* the last evaluation was at this register, and the register has not changed since */
      if (o->from != point || o->at != level) ok = 0;
    }
    if (!ok) return GM_ERR_PROGRAM;
    size_t matrix = matrix_of(p, o, d);
    if (matrix > p->matrix) p->matrix = matrix;
    p->roots |= o->code == GM_ROOT;
    if (writes && o->to == point) point = -1;
    if (o->code == GM_ASK) point = -1; /* overwrites what the earlier operation left */
    if (o->code == GM_EVAL) {
      point = o->to < 0 ? -1 : o->from;
      level = o->at;
    }
  }
  p->pushes = 0;
  for (int i = 0; i < p->n_level; i++) p->pushes |= p->level[i].push.kind != GM_PUSH_NONE;
  p->path = curved || p->derivative != GM_NONE        ? GM_DERIVED
            : pool->vector                            ? GM_TURNED
            : models->first[models->G] <= GM_COMPONENTS ? GM_KEPT
                                                      : GM_STREAMED;
  p->twins = 0;
  for (int i = 0; i < p->n_op; i++) p->twins |= p->op[i].code == GM_EVAL && gm_twin(p, p->op + i);
  return GM_OK;
}

size_t gm_work_size(const gm_job *job) {
  gm_area area;
  /* rounded up to whole cache lines, plus one line between neighbours */
  size_t used = gm_layout(job->pool, job->models, job->program, job->lanes, NULL, &area);
  return (used + 15) / 8 * 8;
}

double *gm_register_rows(const gm_job *job, double *work, int r) {
  gm_area area;
  gm_layout(job->pool, job->models, job->program, job->lanes, work, &area);
  return area.reg + (size_t)r * job->pool->d * job->lanes;
}

double *gm_scalar_rows(const gm_job *job, double *work, int i) {
  gm_area area;
  gm_layout(job->pool, job->models, job->program, job->lanes, work, &area);
  return area.scalar + (size_t)i * job->lanes;
}

void gm_inner(size_t d, size_t lanes, size_t n, const double *x, const double *c, const double *u,
              double *const inner[GM_INNER]) {
  for (int k = 0; k < GM_INNER; k++) memset(inner[k], 0, n * sizeof(double));
  for (size_t j = 0; j < d; j++, x += lanes, c += lanes, u += lanes) {
    for (size_t i = 0; i < n; i++) {
      double gap = c[i] - u[i];
      inner[0][i] += x[i] * x[i];
      inner[1][i] += x[i] * c[i];
      inner[2][i] += x[i] * u[i];
      inner[3][i] += c[i] * c[i];
      inner[4][i] += c[i] * u[i];
      inner[5][i] += u[i] * u[i];
      inner[6][i] += gap * gap;
    }
  }
}

void gm_mix_by(size_t d, size_t lanes, size_t n, const double *x, double *c, const double *u,
            const double *const by[3], const size_t step[3]) {
  for (size_t j = 0; j < d; j++, x += lanes, c += lanes, u += lanes) {
    for (size_t i = 0; i < n; i++) {
      c[i] = by[0][i * step[0]] * x[i] + by[1][i * step[1]] * c[i] + by[2][i * step[2]] * u[i];
    }
  }
}

/* Particles in a block. The registers and tables of a block should stay in the L2 cache. A block
 * that makes its own precision matrices is wide enough to be worth their cost. */
size_t gm_lanes(const gm_pool *pool, const gm_models *models, const gm_program *program) {
  int strips = program->path == GM_TURNED;
  const size_t cache = (strips ? 1 << 20 : 1 << 17) / sizeof(double), most = 512;
  /* roots of few particles wait until they fill a vector */
  const size_t least = program->roots ? 128 : program->path == GM_DERIVED ? 32 : 64;
  gm_area area;
  size_t base = gm_layout(pool, models, program, 32, NULL, &area);
  size_t per_lane = (gm_layout(pool, models, program, 64, NULL, &area) - base) / 32 + 1;
  size_t lanes = cache / per_lane / 32 * 32;
  lanes = lanes < least ? least : lanes > most ? most : lanes;
  /* a tile of components should stay in the L1 cache */
  return lanes * pool->K > 4096 && !strips && lanes > 128 ? 128 : lanes;
}

double gm_block_cost(const gm_job *job) {
  double cost = 0;
  for (int i = 0; i < job->program->n_op; i++) cost += cost_of(job, job->program->op + i);
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

void gm_run(gm_block *run, const void *job, size_t from, size_t to, int op_from, int op_to,
            int threads, int keep, double *work, size_t work_size) {
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
    run(job, block, op_from, op_to, work + area * work_size);
  }
}
