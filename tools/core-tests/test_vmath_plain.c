/* The plain loops of a compiler without vector types. */
#define GM_VL 1
#include "vmath_checks.h"
