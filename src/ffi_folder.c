/* Chunks of a run on disk. */
#include "ffi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#include <io.h>
#define sync_file(file) _commit(_fileno(file))
#else
#include <unistd.h>
#define sync_file(file) fsync(fileno(file))
#endif

/* Writes bytes to a new file and waits until the disk has them. Returns NULL, or the error message.
 * R's own connections only warn when a disk is full. */
SEXP ffi_write(SEXP ffi_path, SEXP ffi_bytes) {
  if (TYPEOF(ffi_path) != STRSXP || Rf_xlength(ffi_path) != 1 || TYPEOF(ffi_bytes) != RAWSXP) {
    Rf_error("internal error: what to write, and where");
  }
  FILE *file = fopen(Rf_translateChar(STRING_ELT(ffi_path, 0)), "wb");
  if (!file) return Rf_mkString(strerror(errno));
  size_t size = (size_t)Rf_xlength(ffi_bytes);
  int ok = fwrite(RAW_RO(ffi_bytes), 1, size, file) == size && fflush(file) == 0;
  /* some file systems do not support fsync */
  if (ok && sync_file(file) != 0 && errno != EINVAL && errno != ENOSYS) ok = 0;
  int fault = ok ? 0 : errno;
  if (fclose(file) != 0 && ok) {
    ok = 0;
    fault = errno;
  }
  return ok ? R_NilValue : Rf_mkString(fault ? strerror(fault) : "it was cut short");
}
