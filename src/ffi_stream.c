#include "core/stream.h"
#include "ffi.h"

/* Returns the key of the i-th use of a key for a purpose. job: key (two whole numbers below 2^32),
 * purpose, i. */
SEXP ffi_stream(SEXP job) {
  uint64_t purpose = (uint64_t)ffi_number(job, "purpose", 1, 9007199254740992.);
  uint64_t i = (uint64_t)ffi_number(job, "i", 0, 9007199254740992.);
  uint64_t key = gm_stream(ffi_key(job, "key"), purpose, i);
  SEXP result = PROTECT(Rf_allocVector(REALSXP, 2));
  REAL(result)[0] = (double)(key >> 32);
  REAL(result)[1] = (double)(key & 0xffffffffU);
  UNPROTECT(1); /* result */
  return result;
}
