/* Spectra of covariances. */
#include "ffi.h"

#include <string.h>

#include "core/spectrum.h"

/* A spectrum with room for n values and d x n vectors. */
static SEXP new_spectrum(int d, int n) {
  const char *names[] = {"values", "vectors", ""};
  SEXP result = PROTECT(Rf_mkNamed(VECSXP, names));
  SEXP values = PROTECT(Rf_allocVector(REALSXP, n));
  SEXP vectors = PROTECT(Rf_allocMatrix(REALSXP, d, n));
  SET_VECTOR_ELT(result, 0, values);
  SET_VECTOR_ELT(result, 1, vectors);
  UNPROTECT(3); /* result, values, vectors */
  return result;
}

/* root: d x c;  least: d. Eigenvalues and eigenvectors of root root'. */
SEXP ffi_spectrum(SEXP ffi_root, SEXP ffi_least) {
  SEXP dim = Rf_getAttrib(ffi_root, R_DimSymbol);
  if (TYPEOF(ffi_root) != REALSXP || Rf_xlength(dim) != 2) Rf_error("internal error: 'root'");
  int d = INTEGER_RO(dim)[0], c = INTEGER_RO(dim)[1];
  if (TYPEOF(ffi_least) != REALSXP || Rf_xlength(ffi_least) != d) {
    Rf_error("internal error: 'least'");
  }
  SEXP result = PROTECT(new_spectrum(d, d));
  double *work = (double *)R_alloc(gm_spectrum_work(d, c), sizeof(double));
  gm_spectrum(d, c, REAL_RO(ffi_root), REAL_RO(ffi_least), REAL(VECTOR_ELT(result, 0)),
              REAL(VECTOR_ELT(result, 1)), work);
  UNPROTECT(1); /* result */
  return result;
}

/* A copy of a spectrum whose vectors are unique. spectrum: values (n, decreasing) and vectors (d x
 * n); tolerance: absolute and relative. */
SEXP ffi_settle(SEXP ffi_spectrum, SEXP ffi_tolerance) {
  R_xlen_t n = ffi_length(ffi_spectrum, "values"), size = ffi_length(ffi_spectrum, "vectors");
  int d = n ? (int)(size / n) : 0;
  const double *from_values = ffi_doubles(ffi_spectrum, "values", n);
  const double *from_vectors = ffi_doubles(ffi_spectrum, "vectors", n * d);
  if (TYPEOF(ffi_tolerance) != REALSXP || Rf_xlength(ffi_tolerance) != 2) {
    Rf_error("internal error: 'tolerance'");
  }
  const double *tolerance = REAL_RO(ffi_tolerance);
  SEXP result = PROTECT(new_spectrum(d, (int)n));
  if (size) {
    double *value = REAL(VECTOR_ELT(result, 0)), *vector = REAL(VECTOR_ELT(result, 1));
    memcpy(value, from_values, sizeof(double) * (size_t)n);
    memcpy(vector, from_vectors, sizeof(double) * (size_t)size);
    double *work = (double *)R_alloc((size_t)(d * (n + 1)), sizeof(double));
    gm_settle(d, (int)n, value, vector, tolerance[0], tolerance[1], work);
  }
  UNPROTECT(1); /* result */
  return result;
}
