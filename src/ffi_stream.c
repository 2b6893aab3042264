#include "core/stream.h"
#include "ffi.h"

/* A key as R has it, two whole numbers below 2^32, for a use of the key. */
SEXP ffi_stream(SEXP ffi_key, SEXP ffi_purpose, SEXP ffi_i) {
  if (TYPEOF(ffi_key) != REALSXP || Rf_xlength(ffi_key) != 2) Rf_error("internal error: 'key'");
  const double *key = REAL_RO(ffi_key);
  uint64_t from = (uint64_t)key[0] << 32 | (uint64_t)key[1];
  uint64_t to = gm_stream(from, (uint64_t)Rf_asReal(ffi_purpose), (uint64_t)Rf_asReal(ffi_i));
  SEXP result = Rf_allocVector(REALSXP, 2);
  REAL(result)[0] = (double)(to >> 32);
  REAL(result)[1] = (double)(to & 0xffffffffU);
  return result;
}
