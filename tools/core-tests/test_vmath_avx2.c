#define GM_VL 4
#include "vmath_checks.h"
