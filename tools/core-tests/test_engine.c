/* The engine on programs small enough that their results are known, for every instruction set. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gm.h"

enum { D = 3, K = 2, N = 37, LOGP = GM_OWN_SCALARS };

static const double mean[D * K] = {0, 1, -1, 2, 0.5, 0};
static const double value[D * K] = {1, 0.5, 2, 0.3, 0.3, 0.3};
static const double log_weight[K] = {-0.5, -1.2};
static double models_table[64];
static gm_models models; /* one: all components */

static gm_pool pool_of(const double *vector) {
  gm_pool pool = {K, D, 0, mean, value, vector};
  return pool;
}

/* x0 -> x0 + 0.5 s(x0) at (a, b2) = (0.8, 0.36), with everything saved */
static const gm_op step[] = {
  {GM_NOISE, 0, 0, 0, 0}, {GM_BEGIN, 0, 0, 0, 0}, {GM_EVAL, 1, 0, 0, LOGP}, {GM_LINEAR, 0, 0, 0, 2},
  {GM_SAVE_JACOBIAN, 0, 0, 0, 0}, {GM_END, 0, 0, 0, 0}, {GM_SAVE, 0, 0, 0, 0},
  {GM_SAVE, 0, 1, 1, 0}, {GM_DOT, 1, 1, 1, 2}};
/* w = (I + 0.5 Ds) x and v = (diag(3, 4) + 0.5 Ds)^-1 x on the first two coordinates */
static const gm_op curved[] = {
  {GM_NOISE, 0, 0, 0, 0}, {GM_EVAL, 1, 0, 0, LOGP}, {GM_LINEAR, 2, 0, 0, 1},
  {GM_LINEAR, 3, 0, 0, 1},
  {GM_PRODUCT, 2, 0, 0, 1}, {GM_SOLVE, 3, 0, 0, 4}, {GM_SAVE, 0, 2, 0, 0}, {GM_SAVE, 0, 3, 1, 0},
  {GM_DOT, 1, 0, 0, 2}};
/* the root of (I + 0.5 Ds), and the product */
static const gm_op rooted[] = {
  {GM_NOISE, 0, 0, 0, 0}, {GM_EVAL, 1, 0, 0, LOGP}, {GM_LINEAR, 2, 0, 0, 1},
  {GM_LINEAR, 3, 0, 0, 1},
  {GM_ROOT, 2, 0, 0, 1}, {GM_PRODUCT, 3, 0, 0, 1}, {GM_SAVE, 0, 2, 0, 0}, {GM_SAVE, 0, 3, 1, 0},
  {GM_DOT, 1, 0, 0, 2}};
/* x -> M M x, with its derivative */
static const gm_op turned[] = {
  {GM_NOISE, 0, 0, 0, 0}, {GM_BEGIN, 0, 0, 0, 0}, {GM_LINEAR, 1, 0, 0, 1}, {GM_MATRIX, 0, 0, 0, 8},
  {GM_MATRIX, 0, 0, 0, 8}, {GM_SAVE_JACOBIAN, 0, 0, 0, 0}, {GM_END, 0, 0, 0, 0},
  {GM_SAVE, 0, 0, 0, 0}, {GM_SAVE, 0, 1, 1, 0}};
static const gm_term terms[] = {{0, 0, 0}, {1, 1, 0}};
static const double coefs[] = {1, 0.5, 0, 1, 2, 0.5, 3, 4, 2, 0, -1, 0.3, 1, 0, 0, 0.7, 1.5};

/* the value of each kind of evaluation, and the factor by which the means are stretched */
static gm_want want = GM_SCORE;
static double stretch = 1;

typedef struct {
  double output[N * D * 2], scalar[N * (GM_OWN_SCALARS + 1)], jacobian[N * D * D];
} answer;

static gm_status run(const char *isa, const double *vector, size_t lanes, int threads, int parts,
                     const gm_op *ops, answer *out) {
  gm_pool pool = pool_of(vector);
  double table[128], one = 1, wide[K * D];
  for (int i = 0; i < K * D; i++) wide[i] = stretch * mean[i];
  if (stretch != 1) pool.mean = wide;
  gm_level level = {.a = 0.8, .b2 = 0.36, .want = want, .coef = &one};
  CHECK(gm_level_size(&pool, want) <= 128);
  gm_status status = gm_level_fill(&pool, &models, &level, table);
  if (status != GM_OK) return status;
  int tangent = ops[0].code == GM_NOISE && ops[1].code == GM_BEGIN;
  gm_program program = {.n_op = 9, .n_term = 2, .n_coef = 17, .n_level = 1, .n_register = 4,
                        .n_scalar = GM_OWN_SCALARS + 1, .n_output = 2, .n_noise = 1, .op = ops,
                        .term = terms, .coef = coefs, .level = &level,
                        .derivative = tangent ? GM_TANGENT : GM_NONE};
  if (gm_program_scan(&program, &pool, &models) != GM_OK) return GM_ERR_PROGRAM;
  double *scalar[GM_OWN_SCALARS + 1];
  for (int i = 0; i <= GM_OWN_SCALARS; i++) scalar[i] = out->scalar + i * N;
  gm_job job = {&pool, &models, &program, N, lanes, 42, 0, NULL, NULL, {NULL, NULL},
                out->output, scalar, out->jacobian};
  size_t size_ = gm_work_size(&job), blocks = (N + lanes - 1) / lanes;
  double *work = malloc(blocks * size_ * sizeof(double));
  const gm_engine *engine = gm_engine_choose(isa);
  for (int part = 0; part < parts; part++) {
    gm_run(engine->run, &job, 0, blocks, 9 * part / parts, 9 * (part + 1) / parts, threads,
           parts > 1, work, size_);
  }
  free(work);
  return GM_OK;
}

/* The step written out. */
static double plain_step(const double *x, double *s) {
  double density[K], g[K][D], sum = 0;
  for (int k = 0; k < K; k++) {
    double l = log_weight[k];
    for (int j = 0; j < D; j++) {
      double v = 0.64 * value[k * D + j] + 0.36, dx = x[j] - 0.8 * mean[k * D + j];
      l -= 0.5 * (dx * dx / v + log(2 * 3.14159265358979323846 * v));
      g[k][j] = -dx / v;
    }
    density[k] = exp(l);
    sum += density[k];
  }
  for (int j = 0; j < D; j++) {
    s[j] = 0;
    for (int k = 0; k < K; k++) s[j] += density[k] / sum * g[k][j];
  }
  return log(sum);
}

static double det3(const double *m) {
  return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[3] * (m[1] * m[8] - m[2] * m[7]) +
         m[6] * (m[1] * m[5] - m[2] * m[4]);
}

/* The score of a strength that depends on q, for a class and a rest of one component each. */
static void plain_push(const gm_push *push, const double *x, double *s) {
  double l[K], g[K][D], lack = 1 - push->p[0], eta;
  for (int k = 0; k < K; k++) {
    l[k] = 0;
    for (int j = 0; j < D; j++) {
      double v = 0.64 * value[k * D + j] + 0.36, dx = x[j] - 0.8 * mean[k * D + j];
      l[k] -= 0.5 * (dx * dx / v + log(v));
      g[k][j] = -dx / v;
    }
  }
  double q = 1 / (1 + exp(l[1] - l[0] - push->log_odds)), L = q / exp(push->p[2]);
  if (push->kind == GM_PUSH_AWAY) {
    eta = -1 - push->p[0] * q / (1 - q);
  } else if (push->kind == GM_PUSH_POWER) {
    eta = push->p[0] * pow(q, push->p[1]) * pow(1 - q, push->p[2]);
  } else if (push->p[3] != 0) {
    double own = push->p[0] * L + lack;
    eta = fmin(fmin(own / (push->p[0] * L), push->p[1]) * push->p[0] * L / own, 1) - 1;
  } else {
    eta = L > lack ? fmin(L / (L - lack), push->p[1]) - 1 : push->p[1] - 1;
  }
  for (int j = 0; j < D; j++) {
    s[j] = g[0][j] + push->by * eta * (1 - q) * (g[0][j] - g[1][j]);
  }
}

static void check_push(const char *isa, gm_push push, const double *vector) {
  enum { SCALARS = GM_OWN_SCALARS + 2 };
  const double weights[2 * K] = {0, -INFINITY, -INFINITY, 0};
  double table[64], level_table[128], coef[2] = {1, 0};
  static double output[N * D * 2], scalars[N * SCALARS], jacobian[N * D * D];
  double *scalar[SCALARS];
  gm_models two;
  gm_pool pool = pool_of(vector);
  CHECK(gm_models_size(K, 2) <= 64);
  CHECK(gm_models_fill(K, 2, weights, &two, table) == GM_OK);
  gm_level level = {.a = 0.8, .b2 = 0.36, .coef = coef, .push = push};
  CHECK(gm_level_fill(&pool, &two, &level, level_table) == GM_OK);
  gm_program program = {.n_op = 9, .n_term = 2, .n_coef = 8, .n_level = 1, .n_register = 4,
                        .n_scalar = SCALARS, .n_output = 2, .n_noise = 1, .op = step,
                        .term = terms, .coef = coefs, .level = &level, .derivative = GM_TANGENT};
  CHECK(gm_program_scan(&program, &pool, &two) == GM_OK);
  for (int i = 0; i < SCALARS; i++) scalar[i] = scalars + i * N;
  gm_job job = {&pool, &two, &program, N, 16, 42, 0, NULL, NULL, {NULL, NULL}, output, scalar,
                jacobian};
  double *work = malloc(gm_work_size(&job) * sizeof(double));
  gm_run(gm_engine_choose(isa)->run, &job, 0, (N + 15) / 16, 0, 9, 1, 0, work, 0);
  free(work);
  for (int p = 0; p < N; p++) {
    double x[D], s[D];
    for (int j = 0; j < D; j++) x[j] = output[p + N * j] - 0.5 * output[p + N * (j + D)];
    plain_push(&push, x, s);
    for (int j = 0; j < D; j++) CHECK_NEAR(output[p + N * (j + D)], s[j], 1e-12);
    for (int j = 0; j < D; j++) {
      double h = 1e-5, up[D], down[D], y[D];
      memcpy(y, x, sizeof y);
      y[j] = x[j] + h;
      plain_push(&push, y, up);
      y[j] = x[j] - h;
      plain_push(&push, y, down);
      for (int l = 0; l < D; l++) {
        CHECK_NEAR(jacobian[p + N * (l + D * j)],
                   (l == j) + 0.5 * (up[l] - down[l]) / (2 * h), 1e-7);
      }
    }
  }
}

int main(void) {
  CHECK(gm_models_size(K, 1) <= 64);
  CHECK(gm_models_fill(K, 1, log_weight, &models, models_table) == GM_OK);
  const char *isa[] = {"portable", "avx2", "avx512"};
  /* the identity as eigenvectors: the full form must agree with the diagonal one */
  double identity[D * D * K] = {0};
  for (int k = 0; k < K; k++) {
    for (int j = 0; j < D; j++) identity[k * D * D + j * D + j] = 1;
  }
  answer *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  for (int i = 0; i < 3; i++) {
    CHECK(run(isa[i], NULL, 16, 1, 1, step, a) == GM_OK);
    for (int p = 0; p < N; p++) {
      double x[D], s[D], s2[D], m[D * D], logp, length = 0;
      for (int j = 0; j < D; j++) {
        s[j] = a->output[p + N * (j + D)];
        x[j] = a->output[p + N * j] - 0.5 * s[j];
        length += s[j] * s[j];
      }
      logp = plain_step(x, s2);
      for (int j = 0; j < D; j++) CHECK_NEAR(s[j], s2[j], 1e-13);
      CHECK_NEAR(a->scalar[p + N * GM_OWN_SCALARS], logp, 1e-13);
      CHECK_NEAR(a->scalar[p + N], length, 1e-13);
      for (int j = 0; j < D; j++) {
        double h = 1e-5, up[D], down[D], y[D];
        memcpy(y, x, sizeof y);
        y[j] = x[j] + h;
        plain_step(y, up);
        y[j] = x[j] - h;
        plain_step(y, down);
        for (int l = 0; l < D; l++) {
          m[l + D * j] = a->jacobian[p + N * (l + D * j)];
          CHECK_NEAR(m[l + D * j], (l == j) + 0.5 * (up[l] - down[l]) / (2 * h), 1e-8);
        }
      }
      CHECK_NEAR(a->scalar[p], -log(fabs(det3(m))), 1e-12);
    }
    /* bits do not depend on blocks, threads, or on running in parts */
    CHECK(run(isa[i], NULL, 8, 2, 1, step, b) == GM_OK && !memcmp(a, b, sizeof *a));
    CHECK(run(isa[i], NULL, 64, 1, 3, step, b) == GM_OK && !memcmp(a, b, sizeof *a));
    CHECK(run(isa[i], identity, 16, 1, 1, step, b) == GM_OK);
    for (int p = 0; p < N * D; p++) CHECK_NEAR(b->output[p], a->output[p], 1e-13);
  }
  /* the Jacobian as a matrix-free product and as a leading block, against differences */
  for (int i = 0; i < 3; i++) {
    double *normals = a->output;
    CHECK(run(isa[i], NULL, 16, 1, 1, step, a) == GM_OK);
    CHECK(run(isa[i], NULL, 16, 1, 1, curved, b) == GM_OK);
    for (int p = 0; p < N; p++) {
      double x[D], m[D * D];
      for (int j = 0; j < D; j++) {
        x[j] = normals[p + N * j] - 0.5 * normals[p + N * (j + D)];
        for (int l = 0; l < D; l++) { /* m = 0.5 Ds: see above */
          m[l + D * j] = a->jacobian[p + N * (l + D * j)] - (l == j);
        }
      }
      for (int l = 0; l < D; l++) {
        double w = x[l];
        for (int j = 0; j < D; j++) w += m[l + D * j] * x[j];
        CHECK_NEAR(b->output[p + N * l], w, 1e-13);
      }
      double v[D];
      for (int l = 0; l < D; l++) v[l] = b->output[p + N * (l + D)];
      CHECK_NEAR((3 + m[0]) * v[0] + m[D] * v[1], x[0], 1e-13);
      CHECK_NEAR(m[1] * v[0] + (4 + m[1 + D]) * v[1], x[1], 1e-13);
      CHECK_NEAR(v[2], x[2], 1e-15);
    }
    memcpy(a, b, sizeof *a);
    CHECK(run(isa[i], NULL, 8, 2, 3, curved, b) == GM_OK && !memcmp(a, b, sizeof *a));
    CHECK(run(isa[i], identity, 16, 1, 1, curved, b) == GM_OK);
    for (int p = 0; p < N * D * 2; p++) CHECK_NEAR(b->output[p], a->output[p], 1e-13);
  }
  for (int i = 0; i < 3; i++) {
    double *normals = b->output;
    CHECK(run(isa[i], NULL, 16, 1, 1, step, b) == GM_OK);
    memcpy(a, b, sizeof *a);
    CHECK(run(isa[i], NULL, 16, 1, 1, rooted, a) == GM_OK);
    for (int p = 0; p < N; p++) {
      double L[D][D];
      for (int j = 0; j < D; j++) { /* the Jacobian of step is I + 0.5 Ds */
        for (int l = j; l < D; l++) {
          L[l][j] = b->jacobian[p + N * (l + D * j)];
          for (int k = 0; k < j; k++) L[l][j] -= L[l][k] * L[j][k];
          L[l][j] /= l == j ? sqrt(L[l][j]) : L[j][j];
        }
      }
      for (int l = 0; l < D; l++) {
        double w = 0;
        for (int j = 0; j <= l; j++) {
          w += L[l][j] * (normals[p + N * j] - 0.5 * normals[p + N * (j + D)]);
        }
        CHECK_NEAR(a->output[p + N * l], w, 1e-12);
      }
    }
    for (int p = 0; p < N; p++) CHECK(a->scalar[p + N * GM_CLIPPED] == 0);
    CHECK(run(isa[i], NULL, 8, 2, 3, rooted, b) == GM_OK && !memcmp(a, b, sizeof *a));
    CHECK(run(isa[i], identity, 16, 1, 1, rooted, b) == GM_OK);
    for (int p = 0; p < N * D * 2; p++) CHECK_NEAR(b->output[p], a->output[p], 1e-13);
  }
  for (int i = 0; i < 3; i++) {
    const double *M = coefs + 8;
    CHECK(run(isa[i], NULL, 16, 1, 1, turned, a) == GM_OK);
    for (int p = 0; p < N; p++) {
      double m[D * D];
      for (int l = 0; l < D; l++) {
        double y = 0;
        for (int j = 0; j < D; j++) {
          double square = 0;
          for (int k = 0; k < D; k++) square += M[l + D * k] * M[k + D * j];
          m[l + D * j] = a->jacobian[p + N * (l + D * j)];
          CHECK_NEAR(m[l + D * j], square, 1e-14);
          y += square * a->output[p + N * (j + D)];
        }
        CHECK_NEAR(a->output[p + N * l], y, 1e-13);
      }
      CHECK_NEAR(a->scalar[p], -log(fabs(det3(m))), 1e-13);
    }
    CHECK(run(isa[i], NULL, 8, 2, 3, turned, b) == GM_OK && !memcmp(a, b, sizeof *a));
  }
  gm_op beyond[9];
  memcpy(beyond, turned, sizeof turned);
  beyond[3].n = 9;
  CHECK(run(isa[0], NULL, 16, 1, 1, beyond, b) == GM_ERR_PROGRAM);
  /* strengths that depend on q */
  const gm_push pushes[] = {
    {GM_PUSH_FEEDBACK, 0, 1, 0.4, 1, {0.9, 1e6, -0.5, 1}},
    {GM_PUSH_FEEDBACK, 0, 1, 0.4, 0.8, {0.9, 5, -0.5, 0}},
    {GM_PUSH_FEEDBACK, 0, 1, 0.4, 1, {0.7, 2, -0.5, 1}},
    {GM_PUSH_AWAY, 0, 1, 0.4, 1, {0.7}}, {GM_PUSH_AWAY, 0, 1, 0.4, 0.8, {5}},
    {GM_PUSH_POWER, 0, 1, 0.4, 0.8, {2, 1, 0.5}}, {GM_PUSH_POWER, 0, 1, -2, 1, {-3, 0, 1}}};
  for (int i = 0; i < 7; i++) {
    for (int e = 0; e < 3; e++) {
      check_push(isa[e], pushes[i], NULL);
      check_push(isa[e], pushes[i], identity);
    }
  }
  /* programs that name missing registers or tables are refused */
  gm_op bad[9];
  const int changes[][2] = {{0, 0}, {2, 1}, {2, 2}, {3, 2}, {7, 2}, {8, 3}};
  for (int i = 0; i < 6; i++) {
    memcpy(bad, step, sizeof bad);
    int *field = &bad[changes[i][0]].to + changes[i][1];
    *field = 99;
    CHECK(run(NULL, NULL, 16, 1, 1, bad, b) == GM_ERR_PROGRAM);
  }
  /* so are programs that use the Jacobian before an evaluation takes it */
  for (int i = 0; i < 4; i++) {
    memcpy(bad, curved, sizeof bad);
    if (i == 0) bad[4].from = 1;
    if (i == 1) bad[4].to = 0;
    if (i == 2) bad[3].to = 0;
    if (i == 3) bad[5].n = 16;
    CHECK(run(NULL, NULL, 16, 1, 1, bad, b) == GM_ERR_PROGRAM);
  }
  /* the denoised point and the noise follow from the score; components far apart count alone */
  for (int i = 0; i < 4; i++) {
    const double *vector = i % 2 ? identity : NULL;
    stretch = i < 2 ? 1 : 1e6;
    want = GM_SCORE;
    CHECK(run(isa[0], vector, 16, 1, 1, step, a) == GM_OK);
    for (int w = 0; w < 2; w++) {
      want = w ? GM_NOISE_IN : GM_DENOISED;
      CHECK(run(isa[2 * (i / 2)], vector, 16, 1, 1, step, b) == GM_OK);
      for (int p = 0; p < N * D; p++) {
        double s = a->output[p + N * D], x = a->output[p] - 0.5 * s, y = b->output[p + N * D];
        CHECK_NEAR(y, w ? -0.6 * s : (x + 0.36 * s) / 0.8, 1e-9 * stretch);
      }
    }
  }
  want = GM_SCORE;
  stretch = 1;
  /* no density without variance */
  gm_pool point = {K, 1, 1, mean, mean, NULL};
  double table[16], one = 1;
  gm_level level = {.a = 1, .b2 = 0, .coef = &one};
  CHECK(gm_level_fill(&point, &models, &level, table) == GM_ERR_SINGULAR);
  free(a);
  free(b);
  return check_finish();
}
