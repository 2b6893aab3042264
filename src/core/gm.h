/* The core: guided scores of diffused Gaussian mixtures, and the engine that runs step programs
 * on blocks of particles. C99; no R, no allocation, no input or output, no global state: callers
 * give the memory and read a status. */
#ifndef GM_H
#define GM_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  GM_OK = 0,
  GM_ERR_SINGULAR, /* a component has no density at a level: zero variance and zero noise */
  GM_ERR_FORGOTTEN, /* a = 0, where coefficients that do not sum to 1 have no denoised point */
  GM_ERR_PROGRAM   /* an operation names a register, level or table entry that does not exist */
} gm_status;

/* The pool of components, in a basis where a common covariance is diagonal. Covariance of
 * component k: V_k diag(value_k) V_k'; V = I if vector is NULL; one value column if common. */
typedef struct {
  int K, d, common; /* common: no vectors */
  const double *mean;   /* d x K */
  const double *value;  /* d x (common ? 1 : K) */
  const double *vector; /* d x d x K, or NULL */
} gm_pool;

/* Models: the pool under other weights. Components that every model weighs alike, but for a factor,
 * form a group; those of weight zero everywhere are never visited. */
typedef struct {
  int J, G;
  const int *order;         /* the components, group by group; below, k counts in this order */
  const int *first;         /* G + 1: group g has k = first[g] .. first[g + 1] - 1 */
  const int *groups;        /* J: how many groups model j has */
  const int *group;         /* G x J: which */
  const double *log_weight; /* for each k */
  const double *shift;      /* G x J: what model j adds to the log-weights of group g */
} gm_models;

/* What an evaluation gives: the score s, the denoised point (x + b^2 s)/a, or the noise -b s. */
typedef enum { GM_SCORE, GM_DENOISED, GM_NOISE_IN } gm_want;

/* Strengths that depend on q, the probability of a class given x (strength_of_q.h), in the order of
 * `profiles` in R/strength_profile.R. With the parameters of each: */
typedef enum {
  GM_PUSH_NONE,     /* there is none: coefficients are numbers */
  GM_PUSH_GIVEN,    /* as the block's scalars say */
  GM_PUSH_FEEDBACK, /* pi, largest scale, log-probability of the class, 1: of the mixed model */
  GM_PUSH_AWAY,     /* lambda */
  GM_PUSH_POWER,    /* strength, power of q, power of 1 - q */
  GM_PUSHES
} gm_push_kind;
enum { GM_PUSH_SIZE = 9 }; /* all of a gm_push */

/* The score is that of model `inside`, the class, as it is, and psi times what it has beyond that
 * of model `outside`, all but the class: psi = by eta(q) (1 - q), since grad log q is 1 - q times
 * the difference. */
typedef struct {
  gm_push_kind kind;
  int inside, outside;
  double log_odds; /* of the two models' weights */
  double by;
  double p[4];
} gm_push;

/* A noise level: x_t = a x_0 + sqrt(b2) z, the coefficient c_j of each model's score, and what is
 * wanted there. Component k gives v_k = start_k + B_k (x - a mu_k), where B_k has the eigenvectors
 * of the covariance and the eigenvalues `gain`: 0 and -P_k for its score, 0 and b P_k for its
 * noise, mu_k and a Sigma_k P_k for the mean of its data given x. The tables follow the order of
 * the models. */
typedef struct {
  double a, b2;
  gm_want want;
  int far;                 /* components so far apart that logits are taken by distances */
  const double *coef;      /* J */
  gm_push push;            /* what depends on q; coef[inside] is then a factor of all */
  double total;            /* sum of coef */
  double lack;             /* times x: what sum_k rho_k v_k lacks of what is wanted */
  double outer;            /* of sum_j c_j sum_k r_jk (v_k - v_j)(v_k - v_j)' in the derivative */
  double log_norm;         /* -(d log 2 pi + log det) / 2, if common */
  const double *precision; /* d x (common ? 1 : K): 1 / (a^2 value + b2) */
  const double *gain;      /* d x (common ? 1 : K) */
  const double *start;     /* d x pool->K, in the pool's order; NULL: 0 */
  const double *origin;    /* d: a times the middle of the means, or 0; the next count from it */
  const double *mean;      /* d x K: a mu_k - origin */
  const double *constant;  /* K: the logit at x = origin, or at the mean if not common */
  const double *slope;     /* d x K: P_k (a mu_k - origin), unless the pool has vectors */
  const double *offset;    /* d x K: v_k at x = origin; the same as slope for the score */
  const double *root;      /* d x K: sqrt(P_k / 2); unless common or with vectors */
  const double *root_mean; /* d x K: that times (a mu_k - origin) */
} gm_level;

size_t gm_models_size(int K, int J); /* doubles for what gm_models_fill makes */
gm_status gm_models_fill(int K, int J, const double *log_weight, gm_models *models, double *table);
/* Doubles for the tables of a level. */
size_t gm_level_size(const gm_pool *pool, gm_want want);
gm_status gm_level_fill(const gm_pool *pool, const gm_models *models, gm_level *level,
                        double *table);

/* Components in a tile of the score; dimensions up to which precision matrices are formed, and
 * roots taken. */
enum { GM_COMPONENTS = 32, GM_MAX_PRECISION = 128, GM_MAX_ROOT = 32 };

/* Rules of guidance (rule.h), in the order of `rules` in R/guidance_rule.R. p is what the class's
 * model says and q what guidance leads away from, but for the last. With the parameters of each: */
typedef enum {
  GM_RULE_APG,        /* strength, part that stays of q along p, longest push p - q */
  GM_RULE_CFG_ZERO,   /* scale, 0: nothing at all */
  GM_RULE_RESCALE,    /* scale, amount */
  GM_RULE_NORM,       /* scale, ratio, 1: at most that */
  GM_RULE_MAMBO,      /* strength, rate */
  GM_RULE_ADG,        /* strength, largest angle */
  GM_RULE_TCFG,       /* scale */
  GM_RULE_PERP_NEG,   /* scale, weight; p, q: less what the whole says */
  /* those that remember a number, in the first coordinate of a register: */
  GM_RULE_ADAPTIVE,   /* scale, cosine; 1: it is over */
  GM_RULE_FEEDBACK,   /* strength, pi, least logarithm of the ratio, which is remembered */
  GM_RULE_AWAY,       /* strength, lambda, largest logarithm of q, which is remembered */
  GM_RULE_ESTIMATE,   /* p[0] += c1 + c2 (<q, m> - c3 <m, m>), where m is what is remembered */
  GM_RULES
} gm_rule;
enum { GM_RULE_SIZE = 8 }; /* the rule itself, its parameters, and where it acts */

/* See operations.h. */
typedef enum {
#define GM_OP(CODE, ...) GM_##CODE,
#include "operations.h"
#undef GM_OP
  GM_CODES
} gm_code;

/* What a field of an operation is. */
typedef enum {
  GM_NOTHING,
  GM_READ,   /* a register that is read */
  GM_WRITE,  /* one that is written */
  GM_MAYBE,  /* the same, or -1: none */
  GM_CHANGE, /* one that is read and written */
  GM_POINT,  /* one at which the last evaluation took the score, whose derivative is used */
  GM_LEVEL,
  GM_SCALAR,
  GM_LOGP,    /* the first of J scalars, or -1: none */
  GM_NOISES,  /* a slice of the noise */
  GM_OUTPUTS, /* a slice of the output */
  GM_TERMS,   /* the first of n terms */
  GM_COUNT,   /* n */
  GM_COEF,    /* the first of its coefficients */
  GM_CALLS,   /* a function of the caller's */
  GM_ALIVE    /* registers that outlive the step, as bits */
} gm_field;

/* With which derivative an operation may come: any, none, or one of these alone. */
typedef enum { GM_ALWAYS, GM_PLAIN, GM_WITH_TRACE, GM_WITH_TANGENT } gm_when;

typedef struct {
  const char *name;
  gm_field to, from, at, n;
  gm_when when;
} gm_operation;

extern const gm_operation gm_operations[GM_CODES];

typedef struct { int code, to, from, at, n; } gm_op;

/* coef[at] (scalar) or coef[at .. at + d - 1] (one per coordinate) times a register */
typedef struct { int reg, at, per_coordinate; } gm_term;

/* How the kernel takes the scores of a program. */
typedef enum {
  GM_KEPT,     /* all e_k at once, for up to GM_COMPONENTS components without eigenvectors */
  GM_STREAMED, /* a tile of components at a time */
  GM_TURNED,   /* with eigenvectors: a component, and a strip of particles, at a time */
  GM_DERIVED   /* all that the derivative needs is kept */
} gm_path;

/* What of the derivative of the map "start of the step -> register" is carried along. */
typedef enum {
  GM_NONE,
  GM_TRACE,  /* its trace: the divergence form of the continuous log-density */
  GM_TANGENT /* the d x d matrix: log|det| of the discretised map itself */
} gm_derivative;

/* Scalars that the engine itself writes: the change of the log-density since the start; 1 for a
 * particle whose map folded (negative determinant) at some step; 1 for one at which a negative
 * eigenvalue of a root's matrix was taken as 0; and what the caller was asked for last, the psi of
 * a gm_push and its derivative by the log-odds. */
enum { GM_LOG_DENSITY, GM_FOLDED, GM_CLIPPED, GM_ASKED, GM_ASKED_SLOPE, GM_OWN_SCALARS };
enum { GM_MAX_REGISTERS = 24 };

typedef struct {
  int n_op, n_term, n_coef, n_level, n_register, n_scalar, n_output, n_noise;
  const gm_op *op;
  const gm_term *term;
  const double *coef;
  const gm_level *level;
  gm_derivative derivative;
  /* of gm_program_scan(): how scores are taken, and doubles per particle for matrices */
  gm_path path;
  size_t matrix;
  int pushes; /* has a level a push? */
  int twins;  /* are there evaluations of the same points and time, one after the other? */
} gm_program;

/* Normals from scrambled Sobol nets: particle i is point i % per of the net of replicate i / per.
 * A net of m columns has 2^m points, for each of its coordinates a random shift and then m columns,
 * in the leading bits of 64. */
typedef struct {
  size_t per, from, replicates; /* the replicates whose nets are here: from, from + 1, ... */
  int columns, coordinates;
  const uint64_t *table;        /* replicates x coordinates x (1 + columns) */
} gm_net;

/* The coordinate of a net that each of a row of normals takes; -1: none, drawn independently. */
typedef struct {
  const gm_net *net;  /* NULL: none at all */
  const int *at;
} gm_points;

/* Makes the table of a net from the columns of Sobol's generating matrices (columns x coordinates,
 * each a number of `columns` bits), by a random linear scramble and a digital shift of `key`. */
void gm_net_fill(uint64_t key, const int *sobol, uint64_t *table, gm_net *net);

typedef struct {
  const gm_pool *pool;
  const gm_models *models;
  const gm_program *program;
  size_t n, lanes;           /* particles, and particles in a block (a multiple of 8) */
  uint64_t key, first;       /* the noise of particle i is that of (key, first + i) */
  const double *start;       /* n x d for register 0, or NULL: zero */
  const double *noise;       /* n x d x n_noise, or NULL: generated */
  gm_points points;          /* at: d x n_noise */
  double *output;            /* n x d x n_output */
  double **scalar;           /* n_scalar pointers to n, each NULL if not wanted */
  double *jacobian;          /* n x d x d, or NULL */
} gm_job;

gm_status gm_program_scan(gm_program *program, const gm_pool *pool, const gm_models *models);
size_t gm_lanes(const gm_pool *pool, const gm_models *models, const gm_program *program);
size_t gm_work_size(const gm_job *job); /* doubles for one block in flight */
/* The rows of register r, and of scalar i, of a block, in its work area. */
double *gm_register_rows(const gm_job *job, double *work, int r);
double *gm_scalar_rows(const gm_job *job, double *work, int i);
/* For a "mix", of n particles of a block, d rows of `lanes` each: the inner products xx, xc, xu,
 * cc, cu, uu and |c - u|^2; and c <- by[0] x + by[1] c + by[2] u, where step[i] is 1 if by[i] has a
 * number for each particle, 0 if one for all. */
enum { GM_INNER = 7 };
void gm_inner(size_t d, size_t lanes, size_t n, const double *x, const double *c, const double *u,
              double *const inner[GM_INNER]);
void gm_mix_by(size_t d, size_t lanes, size_t n, const double *x, double *c, const double *u,
            const double *const by[3], const size_t step[3]);
double gm_block_cost(const gm_job *job); /* rough flops of one block */

/* A reduced run: the program moves y = Q'x, of r coordinates among d, and what is left of x moves
 * linearly, whatever y does. `from` and `to` are d x d: V' z leads from the coordinates of the
 * start to those of Q, V x from those of Q to those of the output.
 *   project:  y = Q' V_from' s, of a start s
 *   expand:   x = V_to (u + Q (y - Q'u)),  u = shift + gain V_from' s + sd xi,  xi fresh normals */
typedef struct {
  size_t d, r, n, lanes;           /* lanes: a multiple of 8 */
  const double *within;            /* Q: d x r, orthonormal columns */
  const double *from, *to;         /* d x d, or NULL: the identity */
  const double *start;             /* n x d, or NULL: start_sd times the normals of `key` */
  double start_sd;
  gm_points points, rest;          /* of the start's normals, and of xi: at: d each */
  const double *gain, *shift, *sd; /* d each; gain or sd NULL: zero */
  const double *inside;            /* y: n x r */
  uint64_t key, noise_key, first;  /* as in gm_job; xi is that of noise_key */
  double *output;                  /* n x r (project) or n x d (expand) */
  double *square;                  /* n: |z|^2 of the start's normals, or NULL */
} gm_expansion;

/* A block of a job, and which operations of it (ignored by the ends of a reduced run). */
typedef void gm_block(const void *job, size_t block, int op_from, int op_to, double *work);

/* An engine is the whole interpreter compiled for one instruction set: blocks of a gm_job, and of a
 * gm_expansion for its two ends. */
typedef struct {
  const char *name;
  gm_block *run, *project, *expand;
} gm_engine;

extern const gm_engine gm_engine_portable, gm_engine_avx2, gm_engine_avx512;
const gm_engine *gm_engine_choose(const char *at_most); /* NULL: the best that this CPU runs */

/* Blocks [from, to), each with operations [op_from, op_to), on so many threads. Blocks use the
 * work area of their thread, or of their own (from + i uses area i) if keep is set, so that a
 * long program can be run in parts. */
void gm_run(gm_block *run, const void *job, size_t from, size_t to, int op_from, int op_to,
            int threads, int keep, double *work, size_t work_size);

size_t gm_expansion_lanes(const gm_expansion *job);
size_t gm_expansion_work_size(const gm_expansion *job);
double gm_expansion_cost(const gm_expansion *job);

#endif
