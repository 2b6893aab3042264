/* The engine in 128-bit vectors (SSE2, NEON), or plain loops without vector types. */
#if defined(__GNUC__) && !defined(GM_NO_VECTORS)
#define GM_VL 2
#else
#define GM_VL 1
#endif
#include "engine.h"

const gm_engine gm_engine_portable = {"portable", gm_run_block, gm_project_block, gm_expand_block};
