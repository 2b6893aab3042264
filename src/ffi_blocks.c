/* Runs of blocks: the engine, the threads, and the user's interrupts. */
#include "ffi_blocks.h"

#include <stdlib.h>

#include "threads.h"

const gm_engine *ffi_engine_in_use(void) { return gm_engine_choose(getenv("MIXGUIDE_ENGINE")); }

SEXP ffi_engine(void) { return Rf_mkString(ffi_engine_in_use()->name); }

SEXP ffi_threads(SEXP ffi_n) {
  if (ffi_n != R_NilValue) mg_threads_set(Rf_asInteger(ffi_n));
  return Rf_ScalarInteger(mg_threads());
}

/* How many threads blocks of that cost are worth. A team costs more than it saves on a few
 * milliseconds of work: its members wait busily for more work for some milliseconds, and wait for
 * each other on a busy machine. */
int ffi_team(size_t blocks, double cost) {
  int threads = mg_threads();
  if (cost * (double)blocks < 5e6) return 1;
  return (size_t)threads > blocks ? (int)blocks : threads;
}

/* Runs blocks in batches, so that the user can interrupt some ten times a second. An interrupt
 * leaves by a long jump; no memory is lost, because R owns all of it. Blocks that take long (many
 * steps, components or dimensions) run a group at a time, each program in parts. */
void ffi_run_blocks(gm_block *run, const void *job, size_t blocks, size_t work_size, double cost,
                    int n_op) {
  const double budget = 2e8; /* rough flops that a thread does in a tenth of a second */
  int threads = ffi_team(blocks, cost);
  double *work = (double *)R_alloc(threads * work_size, sizeof(double));
  int parts = (int)(cost / budget) + 1;
  if (parts > n_op) parts = n_op;
  if (parts == 1) {
    size_t batch = threads * (size_t)(budget / (cost + 1) + 1);
    for (size_t from = 0; from < blocks; from += batch) {
      size_t to = batch < blocks - from ? from + batch : blocks;
      gm_run(run, job, from, to, 0, n_op, threads, 0, work, work_size);
      R_CheckUserInterrupt();
    }
    return;
  }
  for (size_t from = 0; from < blocks; from += threads) {
    size_t to = (size_t)threads < blocks - from ? from + threads : blocks;
    for (int part = 0; part < parts; part++) {
      int op_from = (int)((double)n_op * part / parts);
      int op_to = (int)((double)n_op * (part + 1) / parts);
      gm_run(run, job, from, to, op_from, op_to, threads, 1, work, work_size);
      R_CheckUserInterrupt();
    }
  }
}
