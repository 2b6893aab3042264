/* The engine for AVX2 and FMA, compiled for that target whatever the flags. It uses 128-bit vectors
 * on Windows, because compilers there may spill 256- and 512-bit vectors to a stack with 16-byte
 * alignment. */
#include "gm.h"

#if defined(__GNUC__) && defined(__x86_64__) && !defined(GM_NO_VECTORS)
#ifdef _WIN32
#define GM_VL 2
#else
#define GM_VL 4
#endif
#include <math.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#ifdef _WIN32
#pragma GCC target("prefer-vector-width=128") /* wider copies are off, too */
#endif
#endif
#include "engine.h"

const gm_engine gm_engine_avx2 = {"avx2", gm_run_block, gm_project_block, gm_expand_block};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
const gm_engine gm_engine_avx2 = {"avx2", 0, 0, 0};
#endif
