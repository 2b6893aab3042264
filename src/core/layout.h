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
  double *H;       /* d x d rows (GM_TANGENT) */
  double *spare;   /* 1 row */
  uint64_t *rng;   /* 4 rows */
  double *g, *logit, *r, *rho, *s, *u, *t; /* see score.h */
} gm_area;

/* Cuts `base` into a gm_area; with base = NULL only counts. Returns the doubles used. */
static inline size_t gm_layout(const gm_pool *pool, const gm_models *models,
                               const gm_program *program, size_t lanes, double *base,
                               gm_area *area) {
  size_t d = pool->d, K = pool->K, J = models->J, R = program->n_register, used = 0;
  int trace = program->derivative == GM_TRACE, tangent = program->derivative == GM_TANGENT;
  int derivative = trace || tangent;
  double **rows[] = {&area->reg, &area->scalar, &area->trace, &area->tangent, &area->H,
                     &area->spare, &area->g, &area->logit, &area->r, &area->rho, &area->s,
                     &area->u, &area->t};
  size_t count[] = {R * d, program->n_scalar, trace ? R : 0, tangent ? R * d * d : 0,
                    tangent ? d * d : 0, 1, derivative || pool->vector ? K * d : 0, K,
                    derivative ? J * K : K, K, derivative ? J * d : 0, d, 2 * d};
  area->shared = (gm_shared *)base;
  used = (sizeof(gm_shared) + sizeof(double) - 1) / sizeof(double);
  area->rng = base ? (uint64_t *)(base + used) : NULL;
  used += 4 * lanes;
  for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
    *rows[i] = base ? base + used : NULL;
    used += count[i] * lanes;
  }
  return used;
}

#endif
