#include "core/within.h"
#include "ffi.h"

SEXP ffi_all_within(SEXP ffi_x, SEXP ffi_limit) {
  if (TYPEOF(ffi_x) != REALSXP) Rf_error("internal error: not a vector of doubles");
  const double *x = REAL_RO(ffi_x);
  return Rf_ScalarLogical(gm_all_within(x, (size_t)Rf_xlength(ffi_x), Rf_asReal(ffi_limit)));
}
