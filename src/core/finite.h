#ifndef GM_FINITE_H
#define GM_FINITE_H

#include <stddef.h>

/* Is no number NaN or infinite? 0 x is 0 for a finite x and NaN for any other; eight sums do not
 * wait for each other. */
static inline int gm_all_finite(const double *x, size_t n) {
  double sum[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; j++) sum[j] += 0 * x[i + j];
  }
  for (; i < n; i++) sum[0] += 0 * x[i];
  for (int j = 1; j < 8; j++) sum[0] += sum[j];
  return sum[0] == 0;
}

#endif
