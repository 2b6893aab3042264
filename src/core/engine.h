/* The interpreter of step programs for one block of particles: it runs all steps on a block before
 * the next block. Included once per instruction set by engine_*.c. */
#ifndef GM_ENGINE_H
#define GM_ENGINE_H

#include "det.h"
#include "expand.h"
#include "hessian.h"
#include "root.h"
#include "rule.h"
#include "solve.h"

#define TANGENT(r) (area->tangent + (size_t)(r) * d * d * lanes)

/* C = A B for d x d matrices per lane */
static void gm_multiply(int d, const double *A, const double *B, size_t lanes, double *C) {
  for (int j = 0; j < d; j++) {
    for (int i = 0; i < d; i++) {
      for (size_t v = 0; v < lanes; v += GM_VL) {
        vd sum = vset(0);
        for (int l = 0; l < d; l++) {
          sum += LD(ROW(A, (size_t)l * d + i) + v) * LD(ROW(B, (size_t)j * d + l) + v);
        }
        AT(ROW(C, (size_t)j * d + i) + v) = sum;
      }
    }
  }
}

static GM_NOINLINE void gm_op_eval(const gm_job *job, const gm_op *op, gm_area *area) {
  if (area->shared->ahead == op) { /* the evaluation before has computed it */
    area->shared->ahead = NULL;
    return;
  }
  const gm_pool *pool = job->pool;
  const gm_models *models = job->models;
  const gm_level *level = job->program->level + op->at;
  size_t lanes = job->lanes;
  int d = pool->d;
  double *from = ROW(area->reg, (size_t)op->from * d);
  double *to = op->to < 0 ? NULL : ROW(area->reg, (size_t)op->to * d);
  double *logp = op->n < 0 ? NULL : ROW(area->scalar, op->n);
  const gm_op *next = gm_twin(job->program, op);
  const gm_level *twin = next ? job->program->level + next->at : NULL;
  double *to_twin = next ? ROW(area->reg, (size_t)next->to * d) : NULL;
  area->shared->ahead = next;
  gm_score_work work = area->score;
  if (work.P) gm_precisions(pool, models, level, work.P);
  for (size_t v = 0, strip = gm_strip(job->program, lanes); v < lanes; v += strip) {
    work.asked = ROW(area->scalar, GM_ASKED) + v;
    work.apart = lanes;
    gm_score(pool, models, level, twin, job->program->path, from + v, lanes,
             lanes - v < strip ? lanes - v : strip, &work, to ? to + v : NULL,
             to_twin ? to_twin + v : NULL, logp ? logp + v : NULL);
  }
  if (job->program->path != GM_DERIVED) return;
  gm_model_scores(pool, models, level, lanes, &work);
  if (job->program->derivative == GM_NONE) return;
  if (job->program->derivative == GM_TRACE) {
    /* the divergence is that of the field at this point, however the point was reached */
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(area->trace, op->from) + v) = vset(d);
    gm_divergence(pool, models, level, lanes, &work, ROW(area->trace, op->to));
    return;
  }
  gm_tangent_kind *kind = area->shared->kind;
  switch (kind[op->from]) {
    case GM_ZERO: break;
    case GM_IDENTITY:
      gm_jacobian(pool, models, level, d, lanes, &work, TANGENT(op->to));
      break;
    case GM_FULL:
      gm_jacobian(pool, models, level, d, lanes, &work, area->H);
      gm_multiply(d, area->H, TANGENT(op->from), lanes, TANGENT(op->to));
  }
  kind[op->to] = kind[op->from] == GM_ZERO ? GM_ZERO : GM_FULL;
}

static GM_NOINLINE void gm_op_noise(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  double *to = ROW(area->reg, op->to * d);
  if (job->noise) {
    const double *slice = job->noise + job->n * d * op->at;
    for (size_t j = 0; j < d; j++) {
      memcpy(ROW(to, j), slice + area->first + job->n * j, sizeof(double) * area->count);
    }
  } else {
    gm_normals(&job->points, (int)d * op->at, job->first + area->first, area->rng, area->spare,
               &area->shared->has_spare, (int)d, lanes, to);
  }
  if (job->program->derivative == GM_TRACE) {
    memset(ROW(area->trace, op->to), 0, sizeof(double) * lanes);
  }
  area->shared->kind[op->to] = GM_ZERO;
}

/* Coefficient of a term for coordinate j. */
GM_INLINE double gm_coef(const gm_program *program, const gm_term *term, int j) {
  return program->coef[term->at + (term->per_coordinate ? j : 0)];
}

/* Works element by element, so that the target may be among the sources. */
static GM_NOINLINE void gm_op_linear(const gm_job *job, const gm_op *op, gm_area *area) {
  const gm_program *program = job->program;
  const gm_term *term = program->term + op->at;
  size_t lanes = job->lanes;
  int d = job->pool->d, n = op->n;
  for (int j = 0; j < d; j++) {
    double *to = ROW(area->reg, (size_t)op->to * d + j);
    const double *row[GM_MAX_REGISTERS];
    vd coef[GM_MAX_REGISTERS];
    for (int i = 0; i < n; i++) {
      row[i] = ROW(area->reg, (size_t)term[i].reg * d + j);
      coef[i] = vset(gm_coef(program, term + i, j));
    }
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd sum = vset(0);
      for (int i = 0; i < n; i++) sum += coef[i] * LD(row[i] + v);
      AT(to + v) = sum;
    }
  }
  if (program->derivative == GM_TRACE) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd sum = vset(0);
      for (int i = 0; i < n; i++) {
        sum += vset(gm_coef(program, term + i, 0)) * LD(ROW(area->trace, term[i].reg) + v);
      }
      AT(ROW(area->trace, op->to) + v) = sum;
    }
  } else if (program->derivative == GM_TANGENT) {
    gm_tangent_kind *kind = area->shared->kind;
    int full = 0;
    for (int i = 0; i < n; i++) full |= kind[term[i].reg] != GM_ZERO;
    for (int b = 0; full && b < d; b++) {
      for (int a = 0; a < d; a++) {
        size_t at = (size_t)b * d + a;
        double *to = ROW(TANGENT(op->to), at), constant = 0;
        const double *row[GM_MAX_REGISTERS];
        vd coef[GM_MAX_REGISTERS];
        int m = 0;
        for (int i = 0; i < n; i++) {
          double c = gm_coef(program, term + i, a);
          if (kind[term[i].reg] == GM_IDENTITY && a == b) constant += c;
          if (kind[term[i].reg] != GM_FULL) continue;
          row[m] = ROW(TANGENT(term[i].reg), at);
          coef[m++] = vset(c);
        }
        for (size_t v = 0; v < lanes; v += GM_VL) {
          vd sum = vset(constant);
          for (int i = 0; i < m; i++) sum += coef[i] * LD(row[i] + v);
          AT(to + v) = sum;
        }
      }
    }
    kind[op->to] = full ? GM_FULL : GM_ZERO;
  }
}

static GM_NOINLINE void gm_op_dot(const gm_job *job, const gm_op *op, gm_area *area) {
  const double *coef = job->program->coef + op->n;
  size_t lanes = job->lanes, d = job->pool->d;
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd sum = vset(0);
    for (size_t j = 0; j < d; j++) {
      sum += LD(ROW(area->reg, op->from * d + j) + v) * LD(ROW(area->reg, op->at * d + j) + v);
    }
    AT(ROW(area->scalar, op->to) + v) += vset(coef[0]) + vset(coef[1]) * sum;
  }
}

static GM_NOINLINE void gm_op_constant(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  double *to = ROW(area->reg, op->to * d);
  for (size_t v = 0; v < d * lanes; v++) to[v] = job->program->coef[op->n];
  if (job->program->derivative == GM_TRACE) {
    memset(ROW(area->trace, op->to), 0, sizeof(double) * lanes);
  }
  area->shared->kind[op->to] = GM_ZERO;
}

/* |y|^p y, computed as exp(p log|y|) y; zero for y = 0 */
static GM_NOINLINE void gm_op_power(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  double *to = ROW(area->reg, op->to * d);
  const double least = 1e-300; /* of |y|^2, far from the denormal numbers */
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd sum = vset(0);
    for (size_t j = 0; j < d; j++) sum += LD(ROW(to, j) + v) * LD(ROW(to, j) + v);
    /* beyond 709 the result is too large anyway */
    vd factor = vexp(vmin(vset(0.5 * job->program->coef[op->n]) * vlog(sum), vset(709)));
    factor = vselect(vless(sum, vset(least)), vset(0), factor);
    for (size_t j = 0; j < d; j++) AT(ROW(to, j) + v) = LD(ROW(to, j) + v) * factor;
  }
}

static GM_NOINLINE void gm_op_rule(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  gm_rule_apply(job->program->coef + op->n, d, lanes, ROW(area->reg, op->to * d),
                ROW(area->reg, op->from * d), ROW(area->reg, op->at * d));
}

/* Multiplies `count` columns of d rows by the matrix; `made`: scratch of d rows. */
static void gm_times_matrix(int d, const double *m, int count, size_t lanes, double *columns,
                            double *made) {
  size_t size = d * lanes;
  for (int b = 0; b < count; b++) {
    double *column = columns + b * size;
    gm_product(d, d, (gm_matrix){m, 1, d}, NULL, 0, (gm_rows){column, lanes}, lanes, made);
    memcpy(column, made, sizeof(double) * size);
  }
}

static GM_NOINLINE void gm_op_matrix(const gm_job *job, const gm_op *op, gm_area *area) {
  const double *m = job->program->coef + op->n;
  size_t lanes = job->lanes;
  int d = job->pool->d;
  gm_times_matrix(d, m, 1, lanes, ROW(area->reg, (size_t)op->to * d), area->H);
  if (job->program->derivative != GM_TANGENT) return;
  gm_tangent_kind *kind = area->shared->kind + op->to;
  double *tangent = TANGENT(op->to);
  if (*kind == GM_FULL) gm_times_matrix(d, m, d, lanes, tangent, area->H);
  if (*kind != GM_IDENTITY) return;
  for (int j = 0; j < d * d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(tangent, j) + v) = vset(m[j]);
  }
  *kind = GM_FULL;
}

/* The engine stops here; the caller computes the register and resumes. */
static void gm_op_call(const gm_job *job, const gm_op *op, gm_area *area) {
  (void)job, (void)op, (void)area;
}

static void gm_op_mix(const gm_job *job, const gm_op *op, gm_area *area) {
  (void)job, (void)op, (void)area;
}

/* Hands the log-odds to the caller, who overwrites them with its answer. */
static GM_NOINLINE void gm_op_ask(const gm_job *job, const gm_op *op, gm_area *area) {
  const gm_pool *pool = job->pool;
  const gm_models *models = job->models;
  const gm_level *level = job->program->level + op->at;
  size_t lanes = job->lanes;
  double *from = ROW(area->reg, (size_t)op->from * pool->d);
  double *odds = ROW(area->scalar, GM_ASKED);
  gm_score_work work = area->score;
  if (work.P) gm_precisions(pool, models, level, work.P);
  for (size_t v = 0, strip = gm_strip(job->program, lanes); v < lanes; v += strip) {
    gm_log_odds(pool, models, level, job->program->path, from + v, lanes,
                lanes - v < strip ? lanes - v : strip, &work, odds + v);
  }
}

/* A vector that is turned against itself shows a negative eigenvalue. */
static GM_NOINLINE void gm_op_product(const gm_job *job, const gm_op *op, gm_area *area) {
  const double *c = job->program->coef + op->n;
  size_t lanes = job->lanes, d = job->pool->d;
  double *to = ROW(area->reg, op->to * d), *turned = ROW(area->scalar, GM_REVERSED);
  gm_score_work work = area->score;
  gm_curve(job->pool, job->models, job->program->level + op->at, lanes, &work, to, work.u);
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd along = vset(0);
    for (size_t j = 0; j < d; j++) {
      double *one = ROW(to, j) + v;
      vd before = LD(one);
      AT(one) += vset(*c) * LD(ROW(work.u, j) + v);
      along += before * LD(one);
    }
    AT(turned + v) += vselect(vless(along, vset(0)), vset(1), vset(0));
  }
}

static GM_NOINLINE void gm_op_solve(const gm_job *job, const gm_op *op, gm_area *area) {
  const double *c = job->program->coef + op->n;
  size_t lanes = job->lanes;
  int r = (int)c[0];
  double *H = area->H, *to = ROW(area->reg, (size_t)op->to * job->pool->d);
  gm_score_work work = area->score;
  gm_jacobian(job->pool, job->models, job->program->level + op->at, r, lanes, &work, H);
  for (size_t v = 0; v < (size_t)r * r * lanes; v += GM_VL) AT(H + v) *= vset(c[1]);
  for (int j = 0; j < r; j++) {
    double *h = ROW(H, (size_t)j * r + j);
    for (size_t v = 0; v < lanes; v += GM_VL) AT(h + v) += vset(c[2 + j]);
  }
  gm_solve(r, H, c + 2, lanes, to);
}

/* I + by Ds of one vector of particles. The product is rounded before the sum, so that the noise of
 * a point mass is exactly 0. */
static void gm_covariance(const gm_job *job, const gm_op *op, const gm_area *area, size_t v,
                          double *u, double *A) {
  gm_curvature(job->pool, job->models, job->program->level + op->at, job->lanes, v, &area->score,
               job->program->coef[op->n], u, A);
  for (int j = 0; j < job->pool->d; j++) AT(TRIANGLE(A, j, j)) += vset(1);
}

static GM_NOINLINE void gm_op_root(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes;
  int d = job->pool->d;
  double *z = ROW(area->reg, (size_t)op->to * d);
  double *u = area->H, *clipped = ROW(area->scalar, GM_CLIPPED);
  gm_roots roots = gm_roots_in(d, PLACE(u, 4 * (d + 1)));
  for (size_t v = 0; v < lanes; v += GM_VL) {
    gm_covariance(job, op, area, v, u, roots.A);
    if (gm_root(d, &roots, lanes, v, z)) continue;
    gm_covariance(job, op, area, v, u, roots.A);
    gm_root_later(d, &roots, lanes, v, z, clipped);
  }
  gm_root_waiting(d, &roots, lanes, z, clipped);
}

/* Register r becomes the variable of all derivatives. */
GM_INLINE void gm_rebase(const gm_job *job, gm_area *area, int r) {
  size_t lanes = job->lanes;
  area->shared->kind[r] = GM_IDENTITY;
  if (job->program->derivative != GM_TRACE) return;
  for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(area->trace, r) + v) = vset(job->pool->d);
}

static void gm_op_begin(const gm_job *job, const gm_op *op, gm_area *area) {
  gm_rebase(job, area, op->to);
}

/* The end of a step x' = F(x): the log-density falls by log|det DF|. The trace form is d log alpha
 * + tr(DF) / alpha - d, which is exact for the linear part alpha x of F. */
static GM_NOINLINE void gm_op_end(const gm_job *job, const gm_op *op, gm_area *area) {
  const gm_program *program = job->program;
  size_t lanes = job->lanes;
  int d = job->pool->d, x = op->to;
  double *log_density = ROW(area->scalar, GM_LOG_DENSITY);
  if (program->derivative == GM_TRACE) {
    double alpha = program->coef[op->n], *trace = ROW(area->trace, x);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(log_density + v) -= vset(d * log(alpha) - d) + LD(trace + v) * vset(1 / alpha);
    }
  } else if (program->derivative == GM_TANGENT) {
    gm_tangent_kind *kind = area->shared->kind;
    double *other[GM_MAX_REGISTERS], *logdet = area->score.dx;
    int n_other = 0;
    if (kind[x] == GM_FULL) {
      /* registers that outlive the step (multistep methods) get the new state as their variable; an
       * identity is written out first */
      for (int r = 0; r < program->n_register; r++) {
        if (r == x || kind[r] == GM_ZERO || !(op->at >> r & 1)) continue;
        if (kind[r] == GM_IDENTITY) {
          memset(TANGENT(r), 0, sizeof(double) * d * d * lanes);
          for (int j = 0; j < d; j++) {
            for (size_t v = 0; v < lanes; v += GM_VL) {
              AT(ROW(TANGENT(r), (size_t)j * d + j) + v) = vset(1);
            }
          }
          kind[r] = GM_FULL;
        }
        other[n_other++] = TANGENT(r);
      }
      memset(logdet, 0, sizeof(double) * lanes);
      gm_determinant(d, TANGENT(x), other, n_other, lanes, logdet,
                     ROW(area->scalar, GM_FOLDED));
      for (size_t v = 0; v < lanes; v += GM_VL) AT(log_density + v) -= LD(logdet + v);
    }
  }
  gm_rebase(job, area, x);
}

static void gm_op_save(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  gm_store(ROW(area->reg, op->from * d), job->n, d, area->first, area->count, lanes,
           job->output + job->n * d * op->at);
}

static void gm_op_save_divergence(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes;
  memcpy(ROW(area->scalar, op->at), ROW(area->trace, op->from), sizeof(double) * lanes);
}

static void gm_op_save_jacobian(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  gm_store(TANGENT(op->from), job->n, d * d, area->first, area->count, lanes, job->jacobian);
}

/* Start of a block: scalars are zero, register 0 is the start, and its derivative is the identity.
 * */
static void gm_block_start(const gm_job *job, gm_area *area) {
  const gm_program *program = job->program;
  size_t lanes = job->lanes, d = job->pool->d;
  /* lanes beyond the last particle hold numbers, too */
  memset(area->reg, 0, sizeof(double) * program->n_register * d * lanes);
  memset(area->scalar, 0, sizeof(double) * program->n_scalar * lanes);
  if (job->start) gm_load(job->start, job->n, d, area->first, area->count, lanes, area->reg);
  if (program->derivative == GM_TRACE) {
    memset(area->trace, 0, sizeof(double) * program->n_register * lanes);
  }
  area->shared->has_spare = 0;
  area->shared->ahead = NULL;
  for (int r = 0; r < GM_MAX_REGISTERS; r++) area->shared->kind[r] = GM_ZERO;
  gm_rebase(job, area, 0);
  if (program->n_noise && !job->noise) {
    gm_rng_seed(job->key, job->first + area->first, lanes, area->rng);
  }
}

static void gm_run_block(const void *of, size_t block, int op_from, int op_to, double *work) {
  const gm_job *job = of;
  const gm_program *program = job->program;
  size_t lanes = job->lanes;
  gm_area whole, *area = &whole;
  gm_layout(job->pool, job->models, program, lanes, work, area);
  area->first = block * lanes;
  area->count = job->n - area->first < lanes ? job->n - area->first : lanes;
  if (op_from == 0) gm_block_start(job, area);
  for (const gm_op *op = program->op + op_from; op < program->op + op_to; op++) {
    switch ((gm_code)op->code) {
#define GM_OP(CODE, name, ...) \
  case GM_##CODE: gm_op_##name(job, op, area); break;
#include "operations.h"
#undef GM_OP
      case GM_CODES: break;
    }
  }
  if (op_to < program->n_op) return;
  for (int i = 0; i < program->n_scalar; i++) {
    if (!job->scalar[i]) continue;
    memcpy(job->scalar[i] + area->first, ROW(area->scalar, i), sizeof(double) * area->count);
  }
}

#endif
