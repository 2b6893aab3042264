/* Linear systems, one per lane. */
#ifndef GM_SOLVE_H
#define GM_SOLVE_H

#include "product.h"

/* x = A^-1 x for positive definite matrices A of n x n rows. A becomes L D L' (L below the
 * diagonal, 1/D on it). A is a difference of the n numbers `scale`, so a pivot below 1e-13 of
 * `scale` has no correct digit; it is raised to that bound. */
GM_INLINE void gm_solve(int n, double *A, const double *scale, size_t lanes, double *x) {
#define ENTRY(i, j) (ROW(A, (size_t)(j) * n + (i)) + v)
  for (size_t v = 0; v < lanes; v += GM_VL) {
    for (int j = 0; j < n; j++) {
      vd pivot = LD(ENTRY(j, j)), least = vset(1e-13 * scale[j]);
      for (int l = 0; l < j; l++) pivot -= LD(ENTRY(j, l)) * LD(ENTRY(l, j));
      vd inverse = vset(1) / vmax(pivot, least);
      AT(ENTRY(j, j)) = inverse;
      for (int i = j + 1; i < n; i++) {
        vd t = LD(ENTRY(i, j));
        for (int l = 0; l < j; l++) t -= LD(ENTRY(i, l)) * LD(ENTRY(l, j));
        AT(ENTRY(j, i)) = t; /* D L' above the diagonal */
        AT(ENTRY(i, j)) = t * inverse;
      }
    }
    for (int i = 0; i < n; i++) {
      vd t = LD(ROW(x, i) + v);
      for (int l = 0; l < i; l++) t -= LD(ENTRY(i, l)) * LD(ROW(x, l) + v);
      AT(ROW(x, i) + v) = t;
    }
    for (int i = n - 1; i >= 0; i--) {
      vd t = LD(ROW(x, i) + v) * LD(ENTRY(i, i));
      for (int l = i + 1; l < n; l++) t -= LD(ENTRY(l, i)) * LD(ROW(x, l) + v);
      AT(ROW(x, i) + v) = t;
    }
  }
#undef ENTRY
}

#endif
