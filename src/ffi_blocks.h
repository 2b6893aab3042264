/* How jobs of the core are run from R. */
#ifndef MIXGUIDE_FFI_BLOCKS_H
#define MIXGUIDE_FFI_BLOCKS_H

#include "core/gm.h"
#include "ffi.h"

/* The best engine that this machine runs, or that MIXGUIDE_ENGINE allows. */
const gm_engine *ffi_engine_in_use(void);

/* The threads, of those that are allowed, that so many blocks of that cost are worth. */
int ffi_team(size_t blocks, double cost);

/* All blocks of a job, on as many threads as are allowed and worth it; the user can interrupt.
 * `work_size`: doubles for one block; `cost`: its rough flops; `n_op`: its operations. */
void ffi_run_blocks(gm_block *run, const void *job, size_t blocks, size_t work_size, double cost,
                    int n_op);

#endif
