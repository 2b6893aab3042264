#define GM_VL 2
#include "vmath_checks.h"
