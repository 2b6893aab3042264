#ifndef GM_WITHIN_H
#define GM_WITHIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Is |x| <= limit (>= 0) for every x, and none NaN? Doubles without their sign have the order of
 * integers, and NaN lies beyond infinity. So the loop needs no branch and takes four numbers at a
 * time. */
static inline int gm_all_within(const double *x, size_t n, double limit) {
  uint64_t most, bits[4], beyond[4] = {0};
  size_t i = 0;
  memcpy(&most, &limit, sizeof most);
  for (; i + 4 <= n; i += 4) {
    memcpy(bits, x + i, sizeof bits);
    for (int j = 0; j < 4; j++) beyond[j] |= most - (bits[j] << 1 >> 1);
  }
  for (; i < n; i++) {
    memcpy(bits, x + i, sizeof *bits);
    beyond[0] |= most - (bits[0] << 1 >> 1);
  }
  return (beyond[0] | beyond[1] | beyond[2] | beyond[3]) >> 63 == 0;
}

#endif
