/* Densities on grids, against sums and equations computed term by term. All buffers have exactly
 * the sizes asked for, so that the sanitizers see accesses beyond them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "propagate.h"

static uint64_t state = 88172645463325252u;
static double uniform(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

static double normal_density(double x, double sd) {
  return exp(-x * x / (2 * sd * sd)) / (sd * sqrt(2 * acos(-1)));
}

/* The whole table, rows with their padding, by two calls; the caller frees it. */
static double *spread(gm_spreading job, int threads) {
  size_t rows = job.r == 2 ? job.size[1] : 1;
  double *work = malloc(sizeof(double) * (size_t)threads * gm_spread_work_size(&job));
  double *density = calloc(gm_spread_stride(&job) * rows, sizeof(double));
  size_t part = job.n / (size_t)(threads + 1);
  job.density = density;
  gm_spread(&job, 0, part, threads, work);
  gm_spread(&job, part, job.n, threads, work);
  free(work);
  return density;
}

/* n masses over the grid, some of them far outside it or infinite; each with its own covariance, if
 * wanted */
static void check_spread(int r, size_t size0, size_t size1, double sd, int each) {
  enum { n = 40 };
  const double low[2] = {-1, 2}, step[2] = {.1, .07};
  const size_t size[2] = {size0, size1};
  double x[2 * n], mass[n];
  for (int i = 0; i < n; i++) {
    mass[i] = uniform();
    for (int j = 0; j < 2; j++) {
      x[i + n * j] = low[j] + step[j] * (double)size[j] * (1.4 * uniform() - .2);
    }
  }
  x[0] = 1e300;
  x[1] = -INFINITY;
  x[2] = NAN;
  x[n + 3] = INFINITY; /* an axis that does not exist in one dimension */
  double own[3 * n], largest = sd;
  for (int i = 0; i < n; i++) {
    own[i] = sd * (1 + uniform());
    own[n + i] = 2 * uniform() - 1;
    own[2 * n + i] = sd * (1 + uniform());
    largest = fmax(largest, fmax(own[i], own[2 * n + i]));
  }
  gm_spreading job = {.r = r, .n = n, .x = x, .mass = mass, .sd = each ? largest : sd,
                      .own = each ? own : NULL, .low = low, .step = step, .size = size};
  size_t stride = gm_spread_stride(&job), rows = r == 2 ? size1 : 1;
  double *density = spread(job, 1), top = 0, error = 0;
  for (size_t b = 0; b < rows; b++) {
    for (size_t a = 0; a < size0; a++) {
      double want = 0, at[2] = {low[0] + step[0] * (double)a, low[1] + step[1] * (double)b};
      for (int i = 3; i < n; i++) {
        double up = at[1] - x[n + i], shift = each && r == 2 ? own[n + i] * up : 0;
        double sd0 = each ? own[r == 2 ? 2 * n + i : i] : sd, sd1 = each ? own[i] : sd;
        double term = mass[i] * normal_density(at[0] - x[i] - shift, sd0);
        want += r == 2 ? term * normal_density(up, sd1) : term;
      }
      top = fmax(top, want);
      error = fmax(error, fabs(density[a + stride * b] - want));
    }
  }
  double peak = pow(normal_density(0, sd), r);
  CHECK_MESSAGE(error < 1e-12 * n * peak, "r %d, %d x %d, sd %g: %g off", r, (int)size0,
                (int)size1, sd, error);
  CHECK(top > 0 || sd < .01);
  for (int threads = 2; r == 2 && threads <= 3; threads++) {
    double *again = spread(job, threads);
    int same = 1;
    for (size_t b = 0; b < rows; b++) {
      same = same && !memcmp(density + stride * b, again + stride * b, sizeof(double) * size0);
    }
    CHECK_MESSAGE(same, "%d threads or other parts make other bits", threads);
    free(again);
  }
  free(density);
}

/* The residual of (I - dt L/2) p' = (I + dt L/2) p, with the exact coth, and the mass. */
static void check_step(size_t n, double strength) {
  double h = .3, dt = .2, D = .7, mass = 0, now = 0;
  double *score = malloc(sizeof(double) * (n - 1)), *p = malloc(sizeof(double) * n);
  double *q = malloc(sizeof(double) * n), *work = malloc(sizeof(double) * 2 * n);
  double *residual = malloc(sizeof(double) * n);
  for (size_t i = 0; i < n; i++) mass += p[i] = q[i] = uniform();
  for (size_t i = 0; i + 1 < n; i++) score[i] = strength * (2 * uniform() - 1);
  gm_fokker_planck step = {.n = n, .low = -1, .h = h, .dt = dt, .diffusion2 = 2 * D, .drift = .4,
                           .score = score};
  gm_fokker_planck_step(&step, q, work);
  for (size_t i = 0; i < n; i++) {
    residual[i] = q[i] - p[i];
    now += q[i];
  }
  double scale = 10;
  for (size_t i = 0; i + 1 < n; i++) { /* the flow from i to i + 1 */
    double drift = 2 * D * score[i] - .4 * (-1 + h * ((double)i + .5));
    double x = drift * h / (2 * D), e = x == 0 ? 1 : x / tanh(x);
    double here = (e + x) * (p[i] + q[i]), next = (e - x) * (p[i + 1] + q[i + 1]);
    double flow = dt / 2 * D / (h * h) * (here - next);
    residual[i] += flow;
    residual[i + 1] -= flow;
    scale = fmax(scale, dt / 2 * D / (h * h) * 2 * e);
  }
  for (size_t i = 0; i < n; i++) {
    CHECK_MESSAGE(fabs(residual[i]) < 1e-7 * scale, "%d nodes, drift %g: residual %g at %d",
                  (int)n, strength, residual[i], (int)i);
  }
  CHECK_NEAR(now, mass, 1e-14 * scale);
  free(score);
  free(p);
  free(q);
  free(work);
  free(residual);
}

int main(void) {
  const double sd[] = {.3, .05, 2, 50, .004};
  const size_t size[] = {1, 2, 7, 8, 9, 33};
  for (size_t i = 0; i < sizeof sd / sizeof *sd; i++) {
    for (size_t j = 0; j < sizeof size / sizeof *size; j++) {
      for (int each = 0; each < 2; each++) {
        check_spread(1, size[j], 1, sd[i], each);
        check_spread(2, size[j], size[sizeof size / sizeof *size - 1 - j], sd[i], each);
      }
    }
  }
  const double strength[] = {0, .1, 1, 5, 30, 1e3, 1e6};
  for (size_t n = 2; n < 20; n++) {
    for (size_t i = 0; i < sizeof strength / sizeof *strength; i++) check_step(n, strength[i]);
  }
  return check_finish();
}
