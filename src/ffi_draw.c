/* Draws of components. */
#include "ffi.h"

#include <limits.h>

#include "core/draw.h"

/* laws: mean (K x d), value (d x K, or d), vector (d x d x K, d x d or NULL); component: n numbers
 * from 1; z: the first n x d of its numbers. Returns n x d. */
SEXP ffi_draw(SEXP laws, SEXP component, SEXP z) {
  SEXP means = ffi_element(laws, "mean"), dim = Rf_getAttrib(means, R_DimSymbol);
  if (TYPEOF(means) != REALSXP || Rf_xlength(dim) != 2) Rf_error("internal error: 'mean'");
  int K = INTEGER_RO(dim)[0], d = INTEGER_RO(dim)[1];
  R_xlen_t sds = ffi_length(laws, "sd"), vectors = ffi_length(laws, "vector");
  gm_normals normals = {
    .d = (size_t)d, .K = (size_t)K, .mean = REAL_RO(means),
    .sd = ffi_doubles(laws, "sd", sds == d ? d : (R_xlen_t)d * K), .own_sd = sds != d,
    .vector = ffi_doubles_or_null(laws, "vector", vectors)
  };
  R_xlen_t square = (R_xlen_t)d * d;
  normals.own_vector = vectors != square;
  if (normals.vector && normals.own_vector && vectors != square * K) {
    Rf_error("internal error: 'vector'");
  }
  R_xlen_t n = Rf_xlength(component);
  if (TYPEOF(component) != INTSXP || n > INT_MAX) Rf_error("internal error: 'component'");
  if (TYPEOF(z) != REALSXP || Rf_xlength(z) < n * d) Rf_error("internal error: 'z'");
  const int *which = INTEGER_RO(component);
  for (R_xlen_t i = 0; i < n; i++) {
    if (which[i] < 1 || which[i] > K) Rf_error("internal error: a component");
  }
  SEXP x = PROTECT(Rf_allocMatrix(REALSXP, (int)n, d));
  double *work = (double *)R_alloc(3 * (size_t)d, sizeof(double));
  gm_draw(&normals, (size_t)n, which, REAL_RO(z), REAL(x), work);
  UNPROTECT(1); /* x */
  return x;
}
