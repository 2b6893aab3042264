/* The symmetric root of a symmetric d x d matrix per lane, applied to a row of vectors, by Jacobi's
 * rotations. */
#ifndef GM_ROOT_H
#define GM_ROOT_H

#include "product.h"

/* z <- A_+^(1/2) z, where negative eigenvalues of A count as 0. `negative` becomes 1 where an
 * eigenvalue is negative beyond rounding. Destroys A; V is scratch of its size. A lane stops
 * changing once its matrix is diagonal, so its result does not depend on its neighbours. */
GM_INLINE void gm_root(int d, double *A, double *V, size_t lanes, double *z, double *negative) {
  const int most_sweeps = 30; /* some six sweeps are enough */
#define ENTRY(M, i, j) (ROW(M, (size_t)(j) * d + (i)) + v)
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd size = vset(0);
    for (int j = 0; j < d; j++) {
      for (int i = 0; i < d; i++) {
        size += LD(ENTRY(A, i, j)) * LD(ENTRY(A, i, j));
        AT(ENTRY(V, i, j)) = vset(i == j);
      }
    }
    size = vsqrt(size);
    vd small = vset(DBL_EPSILON / 2) * size;
    for (int sweep = 0, moved = 1; moved && sweep < most_sweeps; sweep++) {
      moved = 0;
      for (int q = 1; q < d; q++) {
        for (int p = 0; p < q; p++) {
          vd a = LD(ENTRY(A, p, q));
          vu mask = vless(small, vabs(a));
          if (!vany(mask)) continue;
          moved = 1;
          /* tan of the smaller angle that makes the entry 0 */
          vd by = LD(ENTRY(A, q, q)) - LD(ENTRY(A, p, p));
          vd two = vselect(mask, a + a, vset(1)), theta = by / two;
          vd t = vset(1) / (vabs(theta) + vsqrt(theta * theta + vset(1)));
          t = vselect(mask, vselect(vless(theta, vset(0)), -t, t), vset(0));
          vd c = vset(1) / vsqrt(t * t + vset(1)), s = t * c;
          AT(ENTRY(A, p, p)) -= t * a;
          AT(ENTRY(A, q, q)) += t * a;
          AT(ENTRY(A, p, q)) = vselect(mask, vset(0), a);
          for (int i = 0; i < d; i++) { /* only the part of A above the diagonal is used */
            double *x = i < p ? ENTRY(A, i, p) : ENTRY(A, p, i);
            double *y = i < q ? ENTRY(A, i, q) : ENTRY(A, q, i);
            double *f = ENTRY(V, i, p), *g = ENTRY(V, i, q);
            vd u = LD(f), w = LD(g);
            AT(f) = c * u - s * w;
            AT(g) = s * u + c * w;
            if (i == p || i == q) continue;
            u = LD(x);
            w = LD(y);
            AT(x) = c * u - s * w;
            AT(y) = s * u + c * w;
          }
        }
      }
    }
    /* V' z, times the roots of the eigenvalues, overwrites the diagonal of A */
    vd below = vset(0);
    for (int j = 0; j < d; j++) {
      vd value = LD(ENTRY(A, j, j)), sum = vset(0);
      for (int i = 0; i < d; i++) sum += LD(ENTRY(V, i, j)) * LD(ROW(z, i) + v);
      below = vmin(below, value);
      AT(ENTRY(A, j, j)) = vsqrt(vmax(value, vset(0))) * sum;
    }
    for (int i = 0; i < d; i++) {
      vd sum = vset(0);
      for (int j = 0; j < d; j++) sum += LD(ENTRY(V, i, j)) * LD(ENTRY(A, j, j));
      AT(ROW(z, i) + v) = sum;
    }
    vu flag = vless(below, vset(-1e-10) * (size + vset(1)));
    AT(negative + v) = vselect(flag, vset(1), LD(negative + v));
  }
#undef ENTRY
}

#endif
