#include "core/finite.h"
#include "ffi.h"

SEXP ffi_all_finite(SEXP ffi_x) {
  if (TYPEOF(ffi_x) != REALSXP) Rf_error("internal error: not a vector of doubles");
  return Rf_ScalarLogical(gm_all_finite(REAL_RO(ffi_x), (size_t)Rf_xlength(ffi_x)));
}
