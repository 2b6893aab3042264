/* The engine for AVX-512, compiled for that target whatever the flags. It is not built on Windows,
 * whose compilers may spill 256- and 512-bit vectors to a stack with 16-byte alignment. */
#include "gm.h"

#if defined(__GNUC__) && defined(__x86_64__) && !defined(_WIN32) && !defined(GM_NO_VECTORS)
#define GM_VL 8
#include <math.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif
#include "engine.h"

const gm_engine gm_engine_avx512 = {"avx512", gm_run_block, gm_project_block, gm_expand_block};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
const gm_engine gm_engine_avx512 = {"avx512", 0, 0, 0};
#endif
