/* The engine's normals are standard and independent, along the stream of a particle, across
 * particles and across keys, and (key, particle) alone determines them. All seeds are fixed, so
 * each test passes always or never. Bounds are 6 standard errors, or equally rare. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gm.h"

#ifdef QUICK
enum { SCALE = 1, ROUNDS = 1 };
#else
enum { SCALE = 4, ROUNDS = 8 };
#endif
enum { N = 1024 * SCALE, L = 512, LAGS = 16, CELLS = 64, BINS = 1 << 16 };

/* `draws` normals of each of n particles, drawn d at a time: out[i + n * l] is the l-th of particle
 * first + i. */
static void draw(const char *isa, uint64_t key, uint64_t first, size_t n, int d, int draws,
                 size_t lanes, double *out) {
  int times = draws / d;
  double *zero = calloc((size_t)d, sizeof *zero), one = 1, *scalar[GM_OWN_SCALARS] = {NULL};
  gm_op *op = calloc(2 * (size_t)times, sizeof *op);
  for (int i = 0; i < times; i++) {
    op[2 * i] = (gm_op){.code = GM_NOISE, .to = 0, .at = i};
    op[2 * i + 1] = (gm_op){.code = GM_SAVE, .from = 0, .at = i};
  }
  double log_weight = 0, table[16];
  gm_pool pool = {.K = 1, .d = d, .common = 1, .mean = zero, .value = zero};
  gm_models models;
  CHECK(gm_models_size(1, 1) <= 16 && gm_models_fill(1, 1, &log_weight, &models, table) == GM_OK);
  gm_program program = {.n_op = 2 * times, .n_register = 1, .n_scalar = GM_OWN_SCALARS,
                        .n_output = times, .n_noise = times, .op = op, .coef = &one};
  CHECK(gm_program_scan(&program, &pool, &models) == GM_OK);
  gm_job job = {.pool = &pool, .models = &models, .program = &program, .n = n, .lanes = lanes,
                .key = key, .first = first, .output = out, .scalar = scalar};
  size_t work_size = gm_work_size(&job);
  double *work = malloc(work_size * sizeof(double));
  gm_run(gm_engine_choose(isa)->run, &job, 0, (n + lanes - 1) / lanes, 0, program.n_op, 1, 0, work,
         work_size);
  free(work);
  free(op);
  free(zero);
}

static double worst_z; /* the largest |z| seen, for the report */

static void check_z(double z, const char *what, int i) {
  worst_z = fmax(worst_z, fabs(z));
  CHECK_MESSAGE(fabs(z) < 6, "%s %d: %.2f standard errors", what, i, z);
}

/* A chi-square variable with that many degrees of freedom, as a standard normal (Wilson and
 * Hilferty). */
static double chi_z(double chi2, double df) {
  return (cbrt(chi2 / df) - (1 - 2 / (9 * df))) / sqrt(2 / (9 * df));
}

static double chi_square(const double *count, int cells, double total) {
  double sum = 0, expected = total / cells;
  for (int i = 0; i < cells; i++) sum += (count[i] - expected) * (count[i] - expected) / expected;
  return sum;
}

static int cell(double u, int cells) {
  int i = (int)(u * cells);
  return i < 0 ? 0 : i >= cells ? cells - 1 : i;
}

/* Tests two series: their correlation, that of their squares, and the cells of their joint law. */
typedef struct {
  double n, xy, squares, count[CELLS * CELLS];
} joint;

static void joint_add(joint *j, double x, double y) {
  j->n++;
  j->xy += x * y;
  j->squares += (x * x - 1) * (y * y - 1) / 2;
}

static void check_joint(const joint *j, const char *what, int i) {
  check_z(j->xy / sqrt(j->n), what, i);
  check_z(j->squares / sqrt(j->n), what, i);
}

/* x and y, of n numbers each, as one joint law */
static void check_pair(const double *x, const double *y, size_t n, const char *what, int i) {
  joint j = {.n = 0};
  for (size_t k = 0; k < n; k++) joint_add(&j, x[k], y[k]);
  check_joint(&j, what, i);
}

/* The law of one number, and of two numbers at some lag along a stream or in neighbouring
 * particles. */
static void check_law(void) {
  const double edge[] = {1, 2, 3, 4, 5};
  double *z = malloc(sizeof(double) * N * L), *u = malloc(sizeof(double) * N * L);
  double *bins = calloc(BINS, sizeof(double)), total = (double)ROUNDS * N * L;
  double power[2][7] = {{0}}, tail[2][5] = {{0}}, largest = 0;
  /* along the stream: lags 1, 2, ..., separately for the first (even) and second member of a pair;
   * then across particles: lags 1, 2, 3, 8 */
  joint *along = calloc(2 * LAGS, sizeof(joint)), *across = calloc(4, sizeof(joint));
  const int step[] = {1, 2, 3, 8};
  for (int round = 0; round < ROUNDS; round++) {
    draw(NULL, 20260 + (uint64_t)round, 1000u * (uint64_t)round, N, 16, L, 128, z);
    for (int l = 0; l < L; l++) {
      for (int i = 0; i < N; i++) {
        double x = z[i + N * l], p = 1;
        int side = x < 0;
        u[i + N * l] = 0.5 * erfc(-x * 0.70710678118654752);
        for (int k = 1; k <= 6; k++) power[l % 2][k] += p *= x;
        for (int k = 0; k < 5; k++) tail[side][k] += fabs(x) > edge[k];
        bins[cell(u[i + N * l], BINS)]++;
        largest = fmax(largest, fabs(x));
      }
    }
    for (int l = 0; l < L; l++) {
      for (int i = 0; i < N; i++) {
        const double *x = z + i + N * l, *v = u + i + N * l;
        for (int lag = 1; lag <= LAGS && l + lag < L; lag++) {
          joint *j = along + 2 * (lag - 1) + l % 2;
          joint_add(j, x[0], x[N * lag]);
          if (lag <= 4) j->count[cell(v[0], CELLS) * CELLS + cell(v[N * lag], CELLS)]++;
        }
        for (int s = 0; s < 4 && i + step[s] < N; s++) {
          joint_add(across + s, x[0], x[step[s]]);
          across[s].count[cell(v[0], CELLS) * CELLS + cell(v[step[s]], CELLS)]++;
        }
      }
    }
  }
  const double moment[] = {1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395};
  for (int k = 1; k <= 6; k++) {
    double variance = moment[2 * k] - moment[k] * moment[k];
    for (int member = 0; member < 2; member++) {
      check_z((power[member][k] - moment[k] * total / 2) / sqrt(variance * total / 2), "moment", k);
    }
  }
  for (int k = 0; k < 5; k++) {
    double p = 0.5 * erfc(edge[k] * 0.70710678118654752);
    for (int side = 0; side < 2; side++) { /* the root of a count has variance 1/4 */
      check_z(2 * (sqrt(tail[side][k] + 0.375) - sqrt(p * total + 0.375)) / sqrt(1 - p), "tail",
              k + 1);
    }
  }
  /* 52 bits or more reach sqrt(2 * 52 log 2) = 8.5; this number of draws stays well below */
  CHECK_MESSAGE(largest > 4.5 && largest < 7.5, "largest %g", largest);
  double below = 0, distance = 0, coarse[1024] = {0};
  for (int b = 0; b < BINS; b++) {
    below += bins[b];
    distance = fmax(distance, fabs(below / total - (b + 1.0) / BINS));
    coarse[b / (BINS / 1024)] += bins[b];
  }
  CHECK_MESSAGE(distance * sqrt(total) < 2.7, "Kolmogorov-Smirnov %g", distance * sqrt(total));
  check_z(chi_z(chi_square(coarse, 1024, total), 1023), "cells", 1024);
  check_z(chi_z(chi_square(bins, BINS, total), BINS - 1), "cells", BINS);
  for (int k = 0; k < 2 * LAGS; k++) {
    joint *j = along + k;
    check_joint(j, "lag", k / 2 + 1);
    if (k >= 8) continue;
    check_z(chi_z(chi_square(j->count, CELLS * CELLS, j->n), CELLS * CELLS - 1), "cells at lag",
            k / 2 + 1);
  }
  for (int s = 0; s < 4; s++) {
    joint *j = across + s;
    check_joint(j, "particles apart", step[s]);
    check_z(chi_z(chi_square(j->count, CELLS * CELLS, j->n), CELLS * CELLS - 1),
            "cells at particles apart", step[s]);
  }
  printf("%.2g normals: largest %.3f, Kolmogorov-Smirnov %.2f\n", total, largest,
         distance * sqrt(total));
  free(z);
  free(u);
  free(bins);
  free(along);
  free(across);
}

/* Keys and particle numbers that differ in one bit, that change places, or that lie on a grid. */
static void check_keys(void) {
  enum { n = 2048 * SCALE, l = 8, side = 64 };
  const uint64_t key = 0x0123456789abcdefu;
  double *x = malloc(sizeof(double) * n * l), *y = malloc(sizeof(double) * n * l);
  draw(NULL, key, 0, n, 2, l, 64, x);
  for (int bit = 0; bit < 64; bit++) {
    draw(NULL, key ^ (uint64_t)1 << bit, 0, n, 2, l, 64, y);
    check_pair(x, y, n * l, "bit of the key", bit);
    if ((uint64_t)1 << bit < n) continue; /* the same particles again */
    draw(NULL, key, (uint64_t)1 << bit, n, 2, l, 64, y);
    check_pair(x, y, n * l, "bit of the particle", bit);
  }
  free(x);
  free(y);
  /* grid[k][p]: the numbers of particle p under key k */
  static double grid[side][side * l];
  for (int k = 0; k < side; k++) draw(NULL, (uint64_t)k, 0, side, 2, l, 64, grid[k]);
  joint swapped = {.n = 0};
  double fourfold = 0, terms = 0;
  for (int k = 0; k < side; k++) {
    for (int p = 0; p < side; p++) {
      for (int i = 0; i < l; i++) {
        if (k < p) joint_add(&swapped, grid[k][p + side * i], grid[p][k + side * i]);
        for (int q = p + 1; k + 1 < side && q < side; q++) {
          fourfold += grid[k][p + side * i] * grid[k][q + side * i] * grid[k + 1][p + side * i] *
                      grid[k + 1][q + side * i];
          terms++;
        }
      }
    }
  }
  check_joint(&swapped, "(key, particle) and (particle, key)", 0);
  check_z(fourfold / sqrt(terms), "two keys by two particles", 0);
}

/* A particle's stream does not depend on how its numbers are drawn or on its neighbours; the
 * instruction sets agree. */
static void check_stream(const char *isa) {
  enum { n = 53, draws = 60 };
  static double want[n * draws], got[n * draws];
  const int dims[] = {2, 3, 4, 5, 6, 10, 15, 20, 60}; /* odd rows leave a sine */
  const size_t lanes[] = {8, 16, 24, 64};
  draw(isa, 9, 77, n, 1, draws, 64, want);
  for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
    memset(got, 0, sizeof got);
    draw(isa, 9, 77, n, dims[i], draws, lanes[i % 4], got);
    CHECK_MESSAGE(!memcmp(want, got, sizeof got), "%d at a time, %d lanes", dims[i],
                  (int)lanes[i % 4]);
  }
  for (int i = 0; i < n; i++) { /* each particle alone */
    draw(isa, 9, 77 + (uint64_t)i, 1, 3, draws, 8, got);
    int same = 1;
    for (int l = 0; l < draws; l++) same = same && got[l] == want[i + n * l];
    CHECK_MESSAGE(same, "particle %d alone", i);
  }
  draw("portable", 9, 77, n, 1, draws, 8, got);
  double apart = 0;
  for (int i = 0; i < n * draws; i++) apart = fmax(apart, fabs(got[i] - want[i]));
  CHECK_MESSAGE(apart < 1e-14, "%s differs from portable by %g", isa, apart);
}

int main(void) {
  check_law();
  check_keys();
  check_stream("portable");
  check_stream("avx2");
  check_stream("avx512");
  printf("largest of the scores %.2f\n", worst_z);
  return check_finish();
}
