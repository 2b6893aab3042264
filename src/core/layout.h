/* The places of all tables in the work area of a block. */
#ifndef GM_LAYOUT_H
#define GM_LAYOUT_H

#include "gm.h"

typedef enum { GM_ZERO, GM_IDENTITY, GM_FULL } gm_tangent_kind;

/* The part of a block's state that all its particles share. */
typedef struct {
  int has_spare;
  const gm_op *ahead; /* an evaluation that was computed together with the one before */
  gm_tangent_kind kind[GM_MAX_REGISTERS];
} gm_shared;

/* The work area of the kernel in score.h. */
typedef struct {
  double *u;     /* d rows: x - origin */
  double *e;     /* a tile of components (all, for the derivative): logits, then e_k */
  double *top;   /* G rows: the top of each group; its e_k are relative to it */
  double *sum;   /* G rows: S_g */
  double *slope; /* G x d rows: A_g, and G x d more if precisions differ: sum_k e_k gain_k */
  double *coef;  /* G rows: sum_j c_j (share of group g in model j) / S_g; also for a twin */
  double *part;  /* G rows, and two at least: scratch */
  double *push;  /* 3 rows: of a level with a push, see gm_push_rows() */
  const double *asked; /* psi and its derivative, if the caller was asked, */
  size_t apart;        /* the distance between the two rows */
  double *dx;    /* 3 x d rows: scratch of the full form, and of the Jacobian */
  double *P;     /* precision matrices of the full form, and d x ld of scratch */
  double *g;     /* K x d rows: component scores; this and the rest for the derivative only */
  double *r;     /* J x K rows: responsibilities */
  double *rho;   /* K rows */
  double *s;     /* J x d rows: model scores */
} gm_score_work;

typedef struct {
  gm_shared *shared;
  double *reg;     /* n_register x d rows */
  double *scalar;  /* n_scalar rows */
  double *trace;   /* n_register rows (GM_TRACE) */
  double *tangent; /* n_register x d x d rows, column-major in each (GM_TANGENT) */
  double *H;       /* d x d rows: with GM_TANGENT, or for operations that need matrices */
  double *spare;   /* 1 row */
  uint64_t *rng;   /* 4 rows */
  gm_score_work score;
  size_t first, count; /* the particles of the block */
} gm_area;

/* Distance of the rows of a precision matrix. */
static inline size_t gm_padded(size_t d) { return (d + 7) / 8 * 8; }

/* The next evaluation, if it shares points, time and kind with this one and differs in its
 * coefficients. Rules of guidance need such pairs. */
static inline const gm_op *gm_twin(const gm_program *program, const gm_op *op) {
  const gm_op *next = op + 1;
  if (next >= program->op + program->n_op || next->code != GM_EVAL) return NULL;
  const gm_level *a = program->level + op->at, *b = program->level + next->at;
  int plain = op->to >= 0 && next->to >= 0 && op->n < 0 && next->n < 0 &&
              program->derivative == GM_NONE && program->path != GM_DERIVED &&
              a->push.kind == GM_PUSH_NONE && b->push.kind == GM_PUSH_NONE && !a->far;
  return plain && next->from == op->from && next->to != op->to && a->a == b->a &&
                 a->b2 == b->b2 && a->want == b->want
             ? next
             : NULL;
}

/* Lanes that the score takes at a time. With eigenvectors, as many as have room in the L1 cache
 * beside a matrix. The derivative takes all lanes of a block. */
static inline size_t gm_strip(const gm_program *program, size_t lanes) {
  const size_t strip = 32;
  return program->path != GM_TURNED || lanes < strip ? lanes : strip;
}

/* Cuts `base` into a gm_area; with base = NULL only counts. Returns the number of doubles used.
 * Rows lie on cache lines, whatever `base`, because vectors that straddle two lines cost twice as
 * much. */
static inline size_t gm_layout(const gm_pool *pool, const gm_models *models,
                               const gm_program *program, size_t lanes, double *base,
                               gm_area *area) {
  size_t d = pool->d, K = pool->K, J = models->J, G = models->G, R = program->n_register, used = 0;
  int trace = program->derivative == GM_TRACE, tangent = program->derivative == GM_TANGENT;
  int full = pool->vector != NULL, common = pool->common, derivative = 0;
  size_t tile = 0, sums = 0;
  switch (program->path) {
    case GM_KEPT: tile = K < GM_COMPONENTS ? K : GM_COMPONENTS; sums = common ? 0 : d; break;
    case GM_STREAMED: tile = GM_COMPONENTS; sums = G * d * (common ? 1 : 2); break;
    case GM_TURNED: tile = 1; sums = G * d; break;
    case GM_DERIVED: tile = K; derivative = 1;
  }
  gm_score_work *score = &area->score;
  double **rows[] = {&area->reg, &area->scalar, &area->trace, &area->tangent, &area->H,
                     &area->spare};
  size_t count[] = {R * d, program->n_scalar, trace ? R : 0, tangent ? R * d * d : 0,
                    tangent ? d * d : program->matrix, 1};
  double **parts[] = {&score->u, &score->e, &score->top, &score->sum, &score->slope, &score->coef,
                      &score->part, &score->dx, &score->g, &score->r, &score->rho, &score->s,
                      &score->push};
  size_t part_count[] = {d, tile, G, G, sums, program->twins ? 2 * G : G, G > 2 ? G : 2,
                         full || (derivative && !trace) ? 3 * d : 0, derivative ? K * d : 0,
                         derivative ? J * K : 0,
                         derivative ? K : 0,
                         derivative ? J * d : 0,
                         program->pushes ? 3 : 0};
  if (base) base += (64 - (uintptr_t)base % 64) % 64 / sizeof(double);
  area->shared = (gm_shared *)base;
  used = (sizeof(gm_shared) + 63) / 64 * 8;
  area->rng = base ? (uint64_t *)(base + used) : NULL;
  used += 4 * lanes;
  for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
    *rows[i] = base ? base + used : NULL;
    used += count[i] * lanes;
  }
  for (size_t i = 0; i < sizeof part_count / sizeof *part_count; i++) {
    *parts[i] = base ? base + used : NULL;
    used += part_count[i] * gm_strip(program, lanes);
  }
  int formed = full && (d <= GM_MAX_PRECISION || tangent);
  score->P = base && formed ? base + used : NULL;
  if (formed) used += (K + 1) * d * gm_padded(d);
  return used + 7;
}

/* The same for the two ends of a reduced run. */
typedef struct {
  double *z, *s, *u; /* d rows each */
  double *y, *h;     /* r + lengths rows each */
  double *spare, *square;
  uint64_t *rng; /* 4 rows */
} gm_expansion_area;

static inline size_t gm_expansion_layout(const gm_expansion *job, double *base,
                                         gm_expansion_area *area) {
  size_t d = job->d, r = job->r + job->lengths, used = 4 * job->lanes;
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
