/* The core: guided scores of diffused Gaussian mixtures, and the engine that runs step programs on
 * blocks of particles. C99 without R, allocation, input, output or global state. Callers provide
 * all memory and read a status. */
#ifndef GM_H
#define GM_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  GM_OK = 0,
  GM_ERR_SINGULAR, /* a component has no density at a level, because variance and noise are zero */
  GM_ERR_FORGOTTEN, /* a = 0, and the coefficients do not sum to 1: there is no denoised point */
  GM_ERR_PROGRAM   /* an operation names a register, level or table entry that does not exist */
} gm_status;

/* The pool of components, in a basis where a common covariance is diagonal. Component k has the
 * covariance V_k diag(value_k) V_k'; V = I if vector is NULL. A common covariance has one column of
 * values. */
typedef struct {
  int K, d, common; /* common: no vectors */
  const double *mean;   /* d x K */
  const double *value;  /* d x (common ? 1 : K) */
  const double *vector; /* d x d x K, or NULL */
} gm_pool;

/* Models: the pool with other weights. A group consists of components whose weights all models
 * agree on, up to a constant factor. Components with weight zero in every model are never visited.
 * */
typedef struct {
  int J, G;
  const int *order;         /* the components, group by group; below, k counts in this order */
  const int *first;         /* G + 1: group g has k = first[g] .. first[g + 1] - 1 */
  const int *groups;        /* J: the number of groups of model j */
  const int *group;         /* G x J: the groups of model j */
  const double *log_weight; /* a value for each k */
  const double *shift;      /* G x J: model j adds this number to the log-weights of group g */
} gm_models;

/* The value of an evaluation: the score s, the denoised point (x + b^2 s)/a, or the noise -b s. */
typedef enum { GM_SCORE, GM_DENOISED, GM_NOISE_IN } gm_want;

/* Strengths that depend on q, the probability of a class given x (strength_of_q.h), in the order of
 * `profiles` in R/strength_profile.R. The comments list the parameters of each. */
typedef enum {
  GM_PUSH_NONE,     /* no strength depends on q: coefficients are numbers */
  GM_PUSH_GIVEN,    /* given by the block's scalars */
  GM_PUSH_FEEDBACK, /* pi, largest scale, log p(class), 1: p(class) of the mixed model */
  GM_PUSH_AWAY,     /* lambda */
  GM_PUSH_POWER,    /* strength, power of q, power of 1 - q */
  GM_PUSHES
} gm_push_kind;
enum { GM_PUSH_SIZE = 9 }; /* the fields of a gm_push */

/* The score is that of model `inside`, the class, plus psi times its difference to the score of
 * model `outside`, which is all but the class. psi = by eta(q) (1 - q), since grad log q is 1 - q
 * times the difference of the two scores. */
typedef struct {
  gm_push_kind kind;
  int inside, outside;
  double log_odds; /* ratio of the weights of the two models */
  double by;
  double p[4];
} gm_push;

/* A noise level: x_t = a x_0 + sqrt(b2) z, the coefficient c_j of each model's score, and the
 * quantity wanted (score, denoised point or noise). Component k contributes v_k = start_k + B_k (x
 * - a mu_k). B_k has the eigenvectors of the covariance and the eigenvalues `gain`. Start and gain
 * are 0 and -P_k for the score of the component, 0 and b P_k for its noise, mu_k and a Sigma_k P_k
 * for the mean of its data given x. The tables follow the order of the models. */
typedef struct {
  double a, b2;
  gm_want want;
  int far;                 /* components are so far apart that logits need distances */
  const double *coef;      /* J */
  gm_push push;            /* strength that depends on q; coef[inside] then multiplies all */
  double total;            /* sum of coef */
  double lack;             /* the coefficient of x in the wanted quantity beyond sum_k rho_k v_k */
  double outer;            /* factor of sum_j c_j sum_k r_jk (v_k - v_j)(v_k - v_j)' in Ds */
  double log_norm;         /* -(d log 2 pi + log det) / 2, if common */
  const double *precision; /* d x (common ? 1 : K): 1 / (a^2 value + b2) */
  const double *gain;      /* d x (common ? 1 : K) */
  const double *start;     /* d x pool->K, in the pool's order; NULL means 0 */
  const double *origin;    /* d: a times the middle of the means, or 0; subtracted below */
  const double *mean;      /* d x K: a mu_k - origin */
  const double *constant;  /* K: the logit at x = origin, or at the mean if covariances differ */
  const double *slope;     /* d x K: P_k (a mu_k - origin), unless the pool has vectors */
  const double *offset;    /* d x K: v_k at x = origin; equals slope for the score */
  const double *root;      /* d x K: sqrt(P_k / 2), if covariances differ without vectors */
  const double *root_mean; /* d x K: root times (a mu_k - origin) */
} gm_level;

size_t gm_models_size(int K, int J); /* doubles that gm_models_fill needs */
gm_status gm_models_fill(int K, int J, const double *log_weight, gm_models *models, double *table);
/* Doubles for the tables of a level. */
size_t gm_level_size(const gm_pool *pool, gm_want want);
gm_status gm_level_fill(const gm_pool *pool, const gm_models *models, gm_level *level,
                        double *table);

/* Components in a tile of the score; the largest dimensions for which precision matrices are
 * formed, and roots taken. */
enum { GM_COMPONENTS = 32, GM_MAX_PRECISION = 128, GM_MAX_ROOT = 32 };

/* Rules of guidance (rule.h), in the order of `rules` in R/guidance_rule.R. p is the value of the
 * class's model, and q the value that guidance leads away from, except in the last rule. The
 * comments list the parameters of each. */
typedef enum {
  GM_RULE_APG,        /* strength, share of q along p that is kept, longest push p - q */
  GM_RULE_CFG_ZERO,   /* scale, 0 for no guidance at all */
  GM_RULE_RESCALE,    /* scale, amount */
  GM_RULE_NORM,       /* scale, ratio, and 1 if the ratio is an upper limit */
  GM_RULE_MAMBO,      /* strength, rate */
  GM_RULE_ADG,        /* strength, largest angle */
  GM_RULE_TCFG,       /* scale */
  GM_RULE_PERP_NEG,   /* scale, weight; p, q: their differences to the model of everything */
  /* rules that remember a number, in the first coordinate of a register: */
  GM_RULE_ADAPTIVE,   /* scale, cosine; the memory is 1 once guidance has ended */
  GM_RULE_FEEDBACK,   /* strength, pi, least logarithm of the ratio; the ratio is remembered */
  GM_RULE_AWAY,       /* strength, lambda, largest logarithm of q; q is remembered */
  GM_RULE_ESTIMATE,   /* p[0] += c1 + c2 (<q, m> - c3 <m, m>), m is the memory */
  GM_RULES
} gm_rule;
enum { GM_RULE_SIZE = 8 }; /* the rule itself, its parameters, and its coordinates */

/* The operations: see operations.h. */
typedef enum {
#define GM_OP(CODE, ...) GM_##CODE,
#include "operations.h"
#undef GM_OP
  GM_CODES
} gm_code;

/* The meaning of a field of an operation. */
typedef enum {
  GM_NOTHING,
  GM_READ,   /* a register that is read */
  GM_WRITE,  /* a register that is written */
  GM_MAYBE,  /* a register that is written, or -1: none */
  GM_CHANGE, /* a register that is read and written */
  GM_POINT,  /* the last evaluation took the score here; its derivative is used */
  GM_LEVEL,
  GM_SCALAR,
  GM_LOGP,    /* the first of J scalars, or -1: none */
  GM_NOISES,  /* a slice of the noise */
  GM_OUTPUTS, /* a slice of the output */
  GM_TERMS,   /* the first of n terms */
  GM_COUNT,   /* the number of terms n */
  GM_COEF,    /* the first of the operation's coefficients */
  GM_CALLS,   /* the number of a function of the caller */
  GM_ALIVE    /* registers that outlive the step, as bits */
} gm_field;

/* The derivatives with which an operation may come: any, none, all but one, or one alone. */
typedef enum { GM_ALWAYS, GM_PLAIN, GM_WITHOUT_TRACE, GM_WITH_TRACE, GM_WITH_TANGENT } gm_when;

/* Whether an operation commutes with rotations. */
typedef enum { GM_TURNS, GM_FIXED } gm_frame;

typedef struct {
  const char *name;
  gm_field to, from, at, n;
  gm_when when;
  gm_frame frame;
} gm_operation;

extern const gm_operation gm_operations[GM_CODES];

typedef struct { int code, to, from, at, n; } gm_op;

/* the product of coef[at] (scalar) or coef[at .. at + d - 1] (one per coordinate) and a register */
typedef struct { int reg, at, per_coordinate; } gm_term;

/* How the kernel takes the scores of a program. */
typedef enum {
  GM_KEPT,     /* keeps all e_k: up to GM_COMPONENTS components, no eigenvectors */
  GM_STREAMED, /* takes a tile of components at a time */
  GM_TURNED,   /* with eigenvectors: takes one component and one strip of particles at a time */
  GM_DERIVED   /* keeps everything that the derivative needs */
} gm_path;

/* How much of the derivative of the map "start of the step -> register" is carried along. */
typedef enum {
  GM_NONE,
  GM_TRACE,  /* its trace: the divergence form of the continuous log-density */
  GM_TANGENT /* the d x d matrix: log|det| of the discretised map itself */
} gm_derivative;

/* Scalars that the engine itself writes: the change of the log-density since the start; 1 for a
 * particle whose map folded (negative determinant) at some step; 1 for a particle where a negative
 * eigenvalue of a root's matrix was taken as 0; how many products turned a vector of the particle
 * against itself; the caller's last answer, the psi of a gm_push and its derivative by the
 * log-odds. */
enum {
  GM_LOG_DENSITY,
  GM_FOLDED,
  GM_CLIPPED,
  GM_REVERSED,
  GM_ASKED,
  GM_ASKED_SLOPE,
  GM_OWN_SCALARS
};
enum { GM_MAX_REGISTERS = 24 };

typedef struct {
  int n_op, n_term, n_coef, n_level, n_register, n_scalar, n_output, n_noise;
  const gm_op *op;
  const gm_term *term;
  const double *coef;
  const gm_level *level;
  gm_derivative derivative;
  /* filled by gm_program_scan(): the path of the kernel, and doubles per particle for matrices */
  gm_path path;
  size_t matrix;
  int roots;  /* is there a root? */
  int pushes; /* does a level have a push? */
  int twins;  /* do two successive evaluations share their points and time? */
} gm_program;

/* Normals from scrambled Sobol nets: particle i is point i % per of the net of replicate i / per. A
 * net of m columns has 2^m points. Each of its coordinates has a random shift and then m columns,
 * in the leading bits of 64. */
typedef struct {
  size_t per, from, replicates; /* the replicates whose nets this table has: from, from + 1, ... */
  int columns, coordinates;
  const uint64_t *table;        /* replicates x coordinates x (1 + columns) */
} gm_net;

/* For each row of normals its coordinate of a net, or -1 for independent normals. */
typedef struct {
  const gm_net *net;  /* NULL: all rows are independent */
  const int *at;
} gm_points;

/* Makes the table of a net by a random linear scramble and a digital shift of `key`. The input has
 * the columns of Sobol's generating matrices (columns x coordinates, each a number of `columns`
 * bits). */
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
size_t gm_work_size(const gm_job *job); /* doubles of work area for one block */
/* The rows of register r, or of scalar i, in the work area of a block. */
double *gm_register_rows(const gm_job *job, double *work, int r);
double *gm_scalar_rows(const gm_job *job, double *work, int i);
/* For a "mix" of n particles of a block, in d rows of `lanes` each. The first function computes the
 * inner products xx, xc, xu, cc, cu, uu and |c - u|^2. The second one sets c <- by[0] x + by[1] c +
 * by[2] u, where step[i] is 1 if by[i] has a number for each particle, and 0 if one for all. */
enum { GM_INNER = 7 };
void gm_inner(size_t d, size_t lanes, size_t n, const double *x, const double *c, const double *u,
              double *const inner[GM_INNER]);
void gm_mix_by(size_t d, size_t lanes, size_t n, const double *x, double *c, const double *u,
            const double *const by[3], const size_t step[3]);
double gm_block_cost(const gm_job *job); /* rough flops of one block */

/* A reduced run: the program moves y = Q'x, with r of the d coordinates. The other coordinates move
 * linearly, independently of y. `from` and `to` are d x d: V_from' z leads from the coordinates of
 * the start to those of Q, V_to x from those of Q to those of the output.
 *
 * With `lengths`, the other coordinates of the start fall into that many parts, whose lengths are
 * further coordinates of y. In the end, part i is multiplied by what the program has multiplied
 * its length by (the gain is 1 then). */
typedef struct {
  size_t d, r, n, lanes;           /* lanes: a multiple of 8 */
  size_t lengths;
  const int *across;               /* d: the part of each coordinate, -1 if all of it is in y */
  const double *within;            /* Q: d x r, orthonormal columns */
  const double *from, *to;         /* d x d, or NULL: the identity */
  const double *start;             /* n x d, or NULL: start_sd times the normals of `key` */
  double start_sd;
  gm_points points, rest;          /* of the start's normals, and of xi; d indices each */
  const double *gain, *shift, *sd; /* d each; gain or sd NULL: zero */
  const double *inside;            /* y: n x (r + lengths) */
  uint64_t key, noise_key, first;  /* as in gm_job; xi uses noise_key */
  double *output;                  /* n x (r + lengths) (project) or n x d (expand) */
  double *square;                  /* n: |z|^2 of the start's normals, or NULL */
} gm_expansion;

/* A block of a job, and the operations to run on it (the ends of a reduced run ignore them). */
typedef void gm_block(const void *job, size_t block, int op_from, int op_to, double *work);

/* An engine: the whole interpreter compiled for one instruction set. It runs blocks of a gm_job,
 * and of the two ends of a gm_expansion. */
typedef struct {
  const char *name;
  gm_block *run, *project, *expand;
} gm_engine;

extern const gm_engine gm_engine_portable, gm_engine_avx2, gm_engine_avx512;
const gm_engine *gm_engine_choose(const char *at_most); /* NULL: the best that this CPU runs */

/* Runs blocks [from, to), each with operations [op_from, op_to), on that many threads. A block uses
 * the work area of its thread. If keep is set, block from + i uses area i, so that a long program
 * can be run in parts. */
void gm_run(gm_block *run, const void *job, size_t from, size_t to, int op_from, int op_to,
            int threads, int keep, double *work, size_t work_size);

size_t gm_expansion_lanes(const gm_expansion *job);
size_t gm_expansion_work_size(const gm_expansion *job);
double gm_expansion_cost(const gm_expansion *job);

#endif
