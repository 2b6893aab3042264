/* Densities on grids: one step of a chain, many steps of a Fokker-Planck equation. */
#include "ffi.h"

#include <float.h>
#include <limits.h>
#include <string.h>

#include "core/propagate.h"
#include "ffi_blocks.h"

/* `job`: x (n x r), mass (n), sd, low (r), step (r), size (r), own (n or n x 3, or NULL). The
 * densities, first axis first. */
SEXP ffi_spread(SEXP ffi_job) {
  gm_spreading job;
  R_xlen_t n = ffi_length(ffi_job, "mass"), r = ffi_length(ffi_job, "low");
  if (r < 1 || r > 2) Rf_error("internal error: 'low'");
  const int *size = ffi_integers(ffi_job, "size", r);
  size_t sizes[2] = {1, 1};
  double nodes = 1;
  for (int j = 0; j < r; j++) {
    if (size[j] < 1) Rf_error("internal error: 'size'");
    sizes[j] = (size_t)size[j];
    nodes *= size[j];
  }
  if (nodes > INT_MAX) Rf_error("internal error: a grid of %.0f nodes", nodes);
  job.r = (int)r;
  job.n = (size_t)n;
  job.x = ffi_doubles(ffi_job, "x", n * r);
  job.mass = ffi_doubles(ffi_job, "mass", n);
  job.sd = ffi_number(ffi_job, "sd", DBL_MIN, DBL_MAX);
  job.own = ffi_doubles_or_null(ffi_job, "own", r == 1 ? n : 3 * n);
  job.low = ffi_doubles(ffi_job, "low", r);
  job.step = ffi_doubles(ffi_job, "step", r);
  ffi_check_range(job.x, n * r, -DBL_MAX, DBL_MAX, "x");
  ffi_check_range(job.mass, n, 0, DBL_MAX, "mass");
  ffi_check_range(job.low, r, -DBL_MAX, DBL_MAX, "low");
  /* 0 if a grid of large numbers collapsed to a point: no mass has a place on it */
  ffi_check_range(job.step, r, 0, DBL_MAX, "step");
  /* the windows have room for `sd` */
  ffi_check_range(job.own, n, DBL_MIN, job.sd, "own");
  if (job.own && r == 2) {
    ffi_check_range(job.own + n, n, -DBL_MAX, DBL_MAX, "own");
    ffi_check_range(job.own + 2 * n, n, DBL_MIN, job.sd, "own");
  }
  job.size = sizes;
  size_t stride = gm_spread_stride(&job);
  int threads = r == 2 ? ffi_team(job.n, gm_spread_nodes(&job)) : 1;
  job.density = (double *)R_alloc(stride * sizes[1], sizeof(double));
  double *work = (double *)R_alloc((size_t)threads * gm_spread_work_size(&job), sizeof(double));
  memset(job.density, 0, sizeof(double) * stride * sizes[1]);
  /* some 10^8 nodes at a time, so that Ctrl-C works */
  size_t some = (size_t)(1e8 / gm_spread_nodes(&job)) + 1;
  for (size_t i = 0; i < job.n; i += some) {
    gm_spread(&job, i, i + some < job.n ? i + some : job.n, threads, work);
    R_CheckUserInterrupt();
  }
  SEXP result = PROTECT(Rf_allocVector(REALSXP, (R_xlen_t)(sizes[0] * sizes[1])));
  for (size_t j = 0; j < sizes[1]; j++) {
    memcpy(REAL(result) + j * sizes[0], job.density + j * stride, sizeof(double) * sizes[0]);
  }
  UNPROTECT(1); /* result */
  return result;
}

/* The density p after N steps of lengths dt. low and h: first node and spacing of the grid. At the
 * middles of the steps: diffusion2 (N), drift (N) and score (n - 1 x N, or NULL). */
SEXP ffi_fokker_planck(SEXP ffi_p, SEXP ffi_job) {
  R_xlen_t n = Rf_xlength(ffi_p), steps = ffi_length(ffi_job, "dt");
  if (TYPEOF(ffi_p) != REALSXP || n < 2) Rf_error("internal error: 'p'");
  gm_fokker_planck step = {.n = (size_t)n};
  step.low = ffi_number(ffi_job, "low", -DBL_MAX, DBL_MAX);
  step.h = ffi_number(ffi_job, "h", DBL_MIN, DBL_MAX);
  const double *dt = ffi_doubles(ffi_job, "dt", steps);
  const double *diffusion2 = ffi_doubles(ffi_job, "diffusion2", steps);
  const double *drift = ffi_doubles(ffi_job, "drift", steps);
  const double *score = ffi_doubles_or_null(ffi_job, "score", (n - 1) * steps);
  SEXP result = PROTECT(Rf_duplicate(ffi_p));
  double *work = (double *)R_alloc(2 * (size_t)n, sizeof(double));
  for (R_xlen_t k = 0; k < steps; k++) {
    step.dt = dt[k];
    step.diffusion2 = diffusion2[k];
    step.drift = drift[k];
    step.score = score ? score + (n - 1) * k : NULL;
    gm_fokker_planck_step(&step, REAL(result), work);
    if (k % 1000 == 999) R_CheckUserInterrupt();
  }
  UNPROTECT(1); /* result */
  return result;
}
