#define GM_VL 8
#include "vmath_checks.h"
