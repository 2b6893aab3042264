/* Runs jobs of the core from R. */
#ifndef MIXGUIDE_FFI_BLOCKS_H
#define MIXGUIDE_FFI_BLOCKS_H

#include "core/gm.h"
#include "ffi.h"

/* The best engine that this machine can run, or that MIXGUIDE_ENGINE allows. */
const gm_engine *ffi_engine_in_use(void);

/* How many of the allowed threads this number of blocks of that cost is worth. */
int ffi_team(size_t blocks, double cost);

/* Runs all blocks of a job, on as many threads as are allowed and worth their cost. The user can
 * interrupt. `work_size`: doubles for one block; `cost`: its rough flops; `n_op`: its operations.
 * */
void ffi_run_blocks(gm_block *run, const void *job, size_t blocks, size_t work_size, double cost,
                    int n_op);

#endif
