/* Arguments from lists made by R/engine.R. R has checked the user's input before, so a mismatch
 * here is a fault of the package; it must not crash R. */
#include "ffi.h"

#include <string.h>

SEXP ffi_element(SEXP list, const char *name) {
  SEXP names = Rf_getAttrib(list, R_NamesSymbol);
  for (R_xlen_t i = 0; i < Rf_xlength(names); i++) {
    if (!strcmp(CHAR(STRING_ELT(names, i)), name)) return VECTOR_ELT(list, i);
  }
  return R_NilValue;
}

static SEXP typed(SEXP list, const char *name, SEXPTYPE type, R_xlen_t length) {
  SEXP x = ffi_element(list, name);
  if ((SEXPTYPE)TYPEOF(x) != type || (length >= 0 && Rf_xlength(x) != length)) {
    Rf_error("internal error: '%s' must be a %s of length %.0f; got a %s of length %.0f", name,
             Rf_type2char(type), (double)length, Rf_type2char(TYPEOF(x)), (double)Rf_xlength(x));
  }
  return x;
}

const double *ffi_doubles(SEXP list, const char *name, R_xlen_t length) {
  return REAL_RO(typed(list, name, REALSXP, length));
}

const int *ffi_integers(SEXP list, const char *name, R_xlen_t length) {
  return INTEGER_RO(typed(list, name, INTSXP, length));
}

const double *ffi_doubles_or_null(SEXP list, const char *name, R_xlen_t length) {
  if (ffi_element(list, name) == R_NilValue) return NULL;
  return ffi_doubles(list, name, length);
}

R_xlen_t ffi_length(SEXP list, const char *name) { return Rf_xlength(ffi_element(list, name)); }

int ffi_count(SEXP list, const char *name) {
  int n = ffi_integers(list, name, 1)[0];
  if (n < 0) Rf_error("internal error: '%s' must not be negative", name);
  return n;
}

static void check_range(double x, double least, double most, const char *name) {
  if (!(x >= least && x <= most)) {
    Rf_error("internal error: '%s' must be between %g and %g; got %g", name, least, most, x);
  }
}

double ffi_number(SEXP list, const char *name, double least, double most) {
  double x = ffi_doubles(list, name, 1)[0];
  check_range(x, least, most, name);
  return x;
}

uint64_t ffi_key(SEXP list, const char *name) {
  const double *key = ffi_doubles(list, name, 2);
  ffi_check_range(key, 2, 0, 4294967295., name);
  return (uint64_t)key[0] << 32 | (uint64_t)key[1];
}

void ffi_check_range(const double *x, R_xlen_t n, double least, double most, const char *name) {
  if (!x) return;
  for (R_xlen_t i = 0; i < n; i++) check_range(x[i], least, most, name);
}
