/* Sums over the particles of a chunk, and copying a chunk into the whole. */
#include "ffi.h"

#include <float.h>
#include <limits.h>
#include <string.h>

#include "core/tally.h"

static void check_type(SEXP x, SEXPTYPE type, const char *name) {
  if ((SEXPTYPE)TYPEOF(x) != type) Rf_error("internal error: the type of '%s'", name);
}

static size_t columns_of(SEXP x) {
  SEXP dim = Rf_getAttrib(x, R_DimSymbol);
  if (Rf_xlength(dim) != 2) Rf_error("internal error: 'x' must be a matrix");
  return (size_t)INTEGER_RO(dim)[1];
}

static SEXP pair_of(SEXP first, const char *first_name, SEXP second, const char *second_name) {
  SEXP pair = PROTECT(Rf_allocVector(VECSXP, 2)), names = PROTECT(Rf_allocVector(STRSXP, 2));
  SET_VECTOR_ELT(pair, 0, first);
  SET_VECTOR_ELT(pair, 1, second);
  SET_STRING_ELT(names, 0, Rf_mkChar(first_name));
  SET_STRING_ELT(names, 1, Rf_mkChar(second_name));
  Rf_setAttrib(pair, R_NamesSymbol, names);
  UNPROTECT(2); /* pair, names */
  return pair;
}

/* Moments of columns in blocks of `block`: mean is p x blocks, cross p^2 x blocks. */
SEXP ffi_moments(SEXP ffi_x, SEXP ffi_centre, SEXP ffi_block, SEXP ffi_squares) {
  check_type(ffi_x, REALSXP, "x");
  check_type(ffi_centre, REALSXP, "centre");
  int size = Rf_asInteger(ffi_block), squares = Rf_asLogical(ffi_squares) == TRUE;
  size_t m = columns_of(ffi_x), block = size > 0 ? (size_t)size : 0;
  size_t n = m ? (size_t)Rf_xlength(ffi_x) / m : 0, p = squares ? 2 * block : block;
  if (block == 0 || m % block || (size_t)Rf_xlength(ffi_centre) != m) {
    Rf_error("internal error: blocks of columns");
  }
  /* the rows of a matrix */
  if (p > INT_MAX / p) Rf_error("internal error: blocks of %d columns are too large", size);
  int blocks = (int)(m / block);
  SEXP mean = PROTECT(Rf_allocMatrix(REALSXP, (int)p, blocks));
  SEXP cross = PROTECT(Rf_allocMatrix(REALSXP, (int)(p * p), blocks));
  double *work = (double *)R_alloc(p * (GM_TALLY_ROWS + 1), sizeof(double));
  for (int k = 0; k < blocks; k++) {
    gm_moments(REAL_RO(ffi_x) + n * block * k, n, block, REAL_RO(ffi_centre) + block * k, squares,
               REAL(mean) + p * k, REAL(cross) + p * p * k, work);
  }
  SEXP result = pair_of(mean, "mean", cross, "cross");
  UNPROTECT(2); /* mean, cross */
  return result;
}

/* Histograms of the columns: count is (bins + 2) x columns, the extremes 2 x columns. */
SEXP ffi_histogram(SEXP ffi_x, SEXP ffi_low, SEXP ffi_width, SEXP ffi_bins) {
  check_type(ffi_x, REALSXP, "x");
  check_type(ffi_low, REALSXP, "low");
  check_type(ffi_width, REALSXP, "width");
  size_t m = columns_of(ffi_x), n = m ? (size_t)Rf_xlength(ffi_x) / m : 0;
  int bins = Rf_asInteger(ffi_bins);
  if (bins < 1 || bins > INT_MAX - 2 || (size_t)Rf_xlength(ffi_low) != m ||
      (size_t)Rf_xlength(ffi_width) != m) {
    Rf_error("internal error: bins");
  }
  ffi_check_range(REAL_RO(ffi_low), (R_xlen_t)m, -DBL_MAX, DBL_MAX, "low");
  ffi_check_range(REAL_RO(ffi_width), (R_xlen_t)m, DBL_MIN, DBL_MAX, "width");
  SEXP count = PROTECT(Rf_allocMatrix(REALSXP, bins + 2, (int)m));
  SEXP extremes = PROTECT(Rf_allocMatrix(REALSXP, 2, (int)m));
  memset(REAL(count), 0, sizeof(double) * (size_t)Rf_xlength(count));
  for (size_t j = 0; j < m; j++) {
    double *ends = REAL(extremes) + 2 * j;
    ends[0] = R_PosInf;
    ends[1] = R_NegInf;
    gm_histogram(REAL_RO(ffi_x) + n * j, n, REAL_RO(ffi_low)[j], REAL_RO(ffi_width)[j],
                 (size_t)bins, REAL(count) + ((size_t)bins + 2) * j, ends, ends + 1);
  }
  SEXP result = pair_of(count, "count", extremes, "extremes");
  UNPROTECT(2); /* count, extremes */
  return result;
}

/* Copies the particles of a chunk to their rows in `target`. `target` is changed in place, which is
 * safe because the caller has just made it and no one else refers to it. Both consist of `columns`
 * stretches; the chunk begins at `offset` in each. */
SEXP ffi_place(SEXP ffi_target, SEXP ffi_part, SEXP ffi_columns, SEXP ffi_offset) {
  check_type(ffi_part, (SEXPTYPE)TYPEOF(ffi_target), "part");
  int real = TYPEOF(ffi_target) == REALSXP;
  if (!real && TYPEOF(ffi_target) != LGLSXP) Rf_error("internal error: the type of a part");
  R_xlen_t all = Rf_xlength(ffi_target), some = Rf_xlength(ffi_part);
  if (some == 0) return R_NilValue;
  double count = Rf_asReal(ffi_columns), begin = Rf_asReal(ffi_offset);
  ffi_check_range(&count, 1, 1, (double)some, "columns");
  R_xlen_t columns = (R_xlen_t)count;
  if (all % columns || some % columns) Rf_error("internal error: a part of broken columns");
  R_xlen_t stride = all / columns, length = some / columns;
  ffi_check_range(&begin, 1, 0, (double)(stride - length), "offset");
  R_xlen_t offset = (R_xlen_t)begin;
  for (R_xlen_t j = 0; j < columns; j++) {
    if (real) {
      memcpy(REAL(ffi_target) + stride * j + offset, REAL_RO(ffi_part) + length * j,
             sizeof(double) * (size_t)length);
    } else {
      memcpy(LOGICAL(ffi_target) + stride * j + offset, LOGICAL_RO(ffi_part) + length * j,
             sizeof(int) * (size_t)length);
    }
  }
  return R_NilValue;
}
