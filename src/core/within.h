#ifndef GM_WITHIN_H
#define GM_WITHIN_H

/* Every matrix that R hands over and gets back is looked at, so a pass costs less than a sum. */
#ifndef GM_VL
#if defined(__GNUC__) && !defined(GM_NO_VECTORS)
#define GM_VL 2
#else
#define GM_VL 1
#endif
#endif
#include "simd.h"

#include <stddef.h>

/* Is |x| <= limit (>= 0) for every x, and none NaN? Doubles without their sign have the order of
 * integers, and NaN lies beyond infinity. So the loop needs no branch. */
static inline int gm_all_within(const double *x, size_t n, double limit) {
  const vu most = vu_of(vset(limit));
  vu beyond[4];
  for (int j = 0; j < 4; j++) beyond[j] = vu_of(vset(0));
  size_t i = 0;
  for (; i + 4 * GM_VL <= n; i += 4 * GM_VL) {
    GM_UNROLL
    for (int j = 0; j < 4; j++) {
      vd one;
      memcpy(&one, x + i + j * GM_VL, sizeof one);
      beyond[j] |= most - vu_of(vabs(one));
    }
  }
  for (; i < n; i++) beyond[0] |= most - vu_of(vabs(vset(x[i])));
  return !vany(((beyond[0] | beyond[1]) | (beyond[2] | beyond[3])) >> 63);
}

#endif
