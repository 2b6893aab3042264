/* Where things lie in the work area of a block. */
#ifndef GM_LAYOUT_H
#define GM_LAYOUT_H

#include "gm.h"

typedef enum { GM_ZERO, GM_IDENTITY, GM_FULL } gm_tangent_kind;

/* The part of a block's state that all its particles share. */
typedef struct {
  int has_spare;
  gm_tangent_kind kind[GM_MAX_REGISTERS];
} gm_shared;

typedef struct {
  gm_shared *shared;
  double *reg;     /* n_register x d rows */
  double *scalar;  /* n_scalar rows */
  double *trace;   /* n_register rows (GM_TRACE) */
  double *tangent; /* n_register x d x d rows, column-major in each (GM_TANGENT) */
  double *H;       /* d x d rows (GM_TANGENT), those of the leading block of Ds, or two of d x d */
  double *spare;   /* 1 row */
  uint64_t *rng;   /* 4 rows */
  /* see score.h: */
  double *u, *e, *top, *sum, *slope, *coef, *part, *dx, *g, *r, *rho, *s, *P;
} gm_area;

/* Distance of the rows of a precision matrix. */
static inline size_t gm_padded(size_t d) { return (d + 7) / 8 * 8; }

/* Lanes that the score takes at a time: with eigenvectors, as many as have room in the L1 cache
 * beside a matrix. The derivative keeps all of a block. */
static inline size_t gm_strip(const gm_pool *pool, const gm_program *program, size_t lanes) {
  const size_t strip = 32;
  int whole = !pool->vector || program->derivative != GM_NONE || program->curved;
  return whole || lanes < strip ? lanes : strip;
}

/* Cuts `base` into a gm_area; with base = NULL only counts. Returns the doubles used. Rows lie on
 * cache lines, whatever `base`: vectors that straddle two cost twice as much. */
static inline size_t gm_layout(const gm_pool *pool, const gm_models *models,
                               const gm_program *program, size_t lanes, double *base,
                               gm_area *area) {
  size_t d = pool->d, K = pool->K, J = models->J, G = models->G, R = program->n_register, used = 0;
  int trace = program->derivative == GM_TRACE, tangent = program->derivative == GM_TANGENT;
  int derivative = trace || tangent || program->curved;
  int full = pool->vector != NULL, common = pool->common;
  int kept = !full && K <= GM_COMPONENTS;
  size_t sums = common && kept ? 0 : kept ? d : G * d * (full || common ? 1 : 2);
  size_t tile = derivative ? K : full ? 1 : K < GM_COMPONENTS ? K : GM_COMPONENTS;
  double **rows[] = {&area->reg, &area->scalar, &area->trace, &area->tangent, &area->H,
                     &area->spare};
  size_t block = program->block;
  size_t count[] = {R * d, program->n_scalar, trace ? R : 0, tangent ? R * d * d : 0,
                    tangent ? d * d : program->root ? 2 * d * d : block * block, 1};
  double **score[] = {&area->u, &area->e, &area->top, &area->sum, &area->slope, &area->coef,
                      &area->part, &area->dx, &area->g, &area->r, &area->rho, &area->s};
  size_t score_count[] = {d, tile, G, G, derivative ? 0 : sums, G,
                          G > 2 ? G : 2, full || tangent || program->curved ? 3 * d : 0,
                          derivative ? K * d : 0, derivative ? J * K : 0, derivative ? K : 0,
                          derivative ? J * d : 0};
  if (base) base += (64 - (uintptr_t)base % 64) % 64 / sizeof(double);
  area->shared = (gm_shared *)base;
  used = (sizeof(gm_shared) + 63) / 64 * 8;
  area->rng = base ? (uint64_t *)(base + used) : NULL;
  used += 4 * lanes;
  for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
    *rows[i] = base ? base + used : NULL;
    used += count[i] * lanes;
  }
  for (size_t i = 0; i < sizeof score_count / sizeof *score_count; i++) {
    *score[i] = base ? base + used : NULL;
    used += score_count[i] * gm_strip(pool, program, lanes);
  }
  int formed = full && (d <= GM_MAX_PRECISION || tangent);
  area->P = base && formed ? base + used : NULL;
  if (formed) used += (K + 1) * d * gm_padded(d);
  return used + 7;
}

/* The same for the two ends of a reduced run. */
typedef struct {
  double *z, *s, *u; /* d rows each */
  double *y, *h;     /* r rows each */
  double *spare, *square;
  uint64_t *rng; /* 4 rows */
} gm_expansion_area;

static inline size_t gm_expansion_layout(const gm_expansion *job, double *base,
                                         gm_expansion_area *area) {
  size_t d = job->d, r = job->r, used = 4 * job->lanes;
  if (base) base += (64 - (uintptr_t)base % 64) % 64 / sizeof(double);
  double **rows[] = {&area->z, &area->s, &area->u, &area->y, &area->h, &area->spare,
                     &area->square};
  size_t count[] = {d, job->from ? d : 0, d, r, r, 1, 1};
  area->rng = (uint64_t *)base;
  for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
    *rows[i] = base ? base + used : NULL;
    used += count[i] * job->lanes;
  }
  return used + 7;
}

#endif
