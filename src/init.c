#include "ffi.h"
#include "threads.h"

#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>

/* through the one type that compilers accept for any function */
#define CALLDEF(name, n) {#name, (DL_FUNC)(void (*)(void))name, n}

static const R_CallMethodDef calls[] = {
  CALLDEF(ffi_run, 5),
  CALLDEF(ffi_cost, 3),
  CALLDEF(ffi_operations, 0),
  CALLDEF(ffi_project, 2),
  CALLDEF(ffi_expand, 3),
  CALLDEF(ffi_moments, 4),
  CALLDEF(ffi_histogram, 4),
  CALLDEF(ffi_place, 4),
  CALLDEF(ffi_draw, 3),
  CALLDEF(ffi_write, 2),
  CALLDEF(ffi_spread, 1),
  CALLDEF(ffi_fokker_planck, 2),
  CALLDEF(ffi_spectrum, 2),
  CALLDEF(ffi_settle, 2),
  CALLDEF(ffi_engine, 0),
  CALLDEF(ffi_all_within, 2),
  CALLDEF(ffi_stream, 1),
  CALLDEF(ffi_threads, 1),
  {NULL, NULL, 0}
};

void attribute_visible R_init_mixguide(DllInfo *dll); /* R calls it */

void attribute_visible R_init_mixguide(DllInfo *dll) {
  R_registerRoutines(dll, NULL, calls, NULL, NULL);
  R_useDynamicSymbols(dll, FALSE);
  R_forceSymbols(dll, TRUE);
  mg_threads_init();
}
