/* The two ends of a reduced run. A start becomes the coordinates that the program moves; the result
 * of the program becomes all d coordinates. */
#include "ffi_blocks.h"
#include "ffi_net.h"

#include <float.h>

/* `space`: within (d x r), from and to (d x d or NULL), across (d or NULL). `job`: n, start (n x d
 * or NULL), start_sd, key, first, lanes (0: as many as suit). */
static gm_expansion expansion_of(SEXP space, SEXP job) {
  SEXP dim = Rf_getAttrib(ffi_element(space, "within"), R_DimSymbol);
  if (Rf_xlength(dim) != 2) Rf_error("internal error: 'within'");
  R_xlen_t n = ffi_count(job, "n"), d = INTEGER_RO(dim)[0], r = INTEGER_RO(dim)[1];
  if (d < 1 || r > d) Rf_error("internal error: the size of 'within'");
  int lanes = ffi_count(job, "lanes");
  if (lanes % 8 || lanes > 4096) Rf_error("internal error: 'lanes' must be a multiple of 8");
  gm_expansion x = {.d = (size_t)d, .r = (size_t)r, .n = (size_t)n};
  x.within = ffi_doubles(space, "within", d * r);
  if (ffi_element(space, "across") != R_NilValue) {
    x.across = ffi_integers(space, "across", d);
    for (R_xlen_t j = 0; j < d; j++) {
      if (x.across[j] >= d - r) Rf_error("internal error: 'across'");
      if (x.across[j] >= (int)x.lengths) x.lengths = (size_t)x.across[j] + 1;
    }
  }
  x.from = ffi_doubles_or_null(space, "from", d * d);
  x.to = ffi_doubles_or_null(space, "to", d * d);
  x.start = ffi_doubles_or_null(job, "start", n * d);
  x.start_sd = ffi_number(job, "start_sd", 0, DBL_MAX);
  x.key = ffi_key(job, "key");
  x.first = (uint64_t)ffi_number(job, "first", 0, 9007199254740992.);
  const gm_net *net = ffi_net(job, x.first, n);
  x.points = ffi_points(net, job, "at", d);
  x.rest = ffi_points(net, job, "rest", d);
  x.lanes = lanes ? (size_t)lanes : gm_expansion_lanes(&x);
  return x;
}

static void run_all(const gm_expansion *x, gm_block *run) {
  if (x->n == 0) return;
  ffi_run_blocks(run, x, (x->n - 1) / x->lanes + 1, gm_expansion_work_size(x),
                 gm_expansion_cost(x), 1);
}

/* A list of start (n x r, and lengths) and square (n), the |z|^2 of the normals drawn for each
 * start. */
SEXP ffi_project(SEXP ffi_space, SEXP ffi_job) {
  gm_expansion x = expansion_of(ffi_space, ffi_job);
  const char *names[] = {"start", "square", ""};
  int columns = (int)(x.r + x.lengths);
  SEXP result = PROTECT(Rf_mkNamed(VECSXP, names));
  SET_VECTOR_ELT(result, 0, Rf_allocMatrix(REALSXP, (int)x.n, columns));
  x.output = REAL(VECTOR_ELT(result, 0));
  if (!x.start) {
    SET_VECTOR_ELT(result, 1, Rf_allocVector(REALSXP, (R_xlen_t)x.n));
    x.square = REAL(VECTOR_ELT(result, 1));
  }
  run_all(&x, ffi_engine_in_use()->project);
  UNPROTECT(1); /* result */
  return result;
}

/* The particles, n x d. `map`: shift, gain and sd (d each; the last two may be NULL), noise_key,
 * inside (n x r, and lengths). */
SEXP ffi_expand(SEXP ffi_space, SEXP ffi_job, SEXP ffi_map) {
  gm_expansion x = expansion_of(ffi_space, ffi_job);
  R_xlen_t d = (R_xlen_t)x.d;
  x.shift = ffi_doubles(ffi_map, "shift", d);
  x.gain = ffi_doubles_or_null(ffi_map, "gain", d);
  x.sd = ffi_doubles_or_null(ffi_map, "sd", d);
  x.noise_key = ffi_key(ffi_map, "noise_key");
  x.inside = ffi_doubles(ffi_map, "inside", (R_xlen_t)(x.n * (x.r + x.lengths)));
  SEXP output = PROTECT(Rf_allocMatrix(REALSXP, (int)x.n, (int)d));
  x.output = REAL(output);
  run_all(&x, ffi_engine_in_use()->expand);
  UNPROTECT(1); /* output */
  return output;
}
