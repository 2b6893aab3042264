/* The boundary: the only code that knows SEXP. It checks types and sizes, allocates, calls the core
 * and turns a status into an R error. It does no arithmetic. */
#ifndef MIXGUIDE_FFI_H
#define MIXGUIDE_FFI_H

#define R_NO_REMAP
#define STRICT_R_HEADERS
#include <stdint.h>

#include <R.h>
#include <Rinternals.h>

SEXP ffi_run(SEXP ffi_pool, SEXP ffi_models, SEXP ffi_levels, SEXP ffi_program, SEXP ffi_job);
SEXP ffi_cost(SEXP ffi_pool, SEXP ffi_program, SEXP ffi_n_models);
SEXP ffi_operations(void);
SEXP ffi_project(SEXP ffi_space, SEXP ffi_job);
SEXP ffi_expand(SEXP ffi_space, SEXP ffi_job, SEXP ffi_map);
SEXP ffi_moments(SEXP ffi_x, SEXP ffi_centre, SEXP ffi_block, SEXP ffi_squares);
SEXP ffi_histogram(SEXP ffi_x, SEXP ffi_low, SEXP ffi_width, SEXP ffi_bins);
SEXP ffi_place(SEXP ffi_target, SEXP ffi_part, SEXP ffi_columns, SEXP ffi_offset);
SEXP ffi_draw(SEXP laws, SEXP component, SEXP z);
SEXP ffi_write(SEXP ffi_path, SEXP ffi_bytes);
SEXP ffi_spread(SEXP ffi_job);
SEXP ffi_fokker_planck(SEXP ffi_p, SEXP ffi_job);
SEXP ffi_spectrum(SEXP ffi_root, SEXP ffi_least);
SEXP ffi_settle(SEXP ffi_spectrum, SEXP ffi_tolerance);
SEXP ffi_engine(void);
SEXP ffi_all_within(SEXP ffi_x, SEXP ffi_limit);
SEXP ffi_stream(SEXP job);
SEXP ffi_threads(SEXP ffi_n);

/* Element `name` of a list; R_NilValue if absent. */
SEXP ffi_element(SEXP list, const char *name);
/* The element of a given type and length (length < 0: any length); an error otherwise. */
const double *ffi_doubles(SEXP list, const char *name, R_xlen_t length);
const int *ffi_integers(SEXP list, const char *name, R_xlen_t length);
/* NULL if the element is absent or NULL. */
const double *ffi_doubles_or_null(SEXP list, const char *name, R_xlen_t length);
R_xlen_t ffi_length(SEXP list, const char *name);
int ffi_count(SEXP list, const char *name);
/* One double in [least, most]. NaN and values that overflow a size are errors. */
double ffi_number(SEXP list, const char *name, double least, double most);
/* The two 32-bit halves of a key, given as doubles, joined to one number. */
uint64_t ffi_key(SEXP list, const char *name);
/* An error unless all n numbers lie in [least, most]. NULL is allowed. */
void ffi_check_range(const double *x, R_xlen_t n, double least, double most, const char *name);

#endif
