/* A root of a symmetric d x d matrix per lane, applied to a row of vectors: z <- L z, where L is
 * the lower triangular factor of A_+ = L L', and A_+ is A with its negative eigenvalues as 0.
 *
 * Any root turns normals of covariance I into normals of covariance A_+, so nothing that speaks of
 * the law depends on which one is taken. Cholesky's costs d^3/3 flops, the symmetric root by
 * Jacobi's rotations some 300 times as much. It is linear in z, so antithetic normals stay so; and
 * of one Gaussian, in its eigenvectors, it is the diagonal root. A lane whose matrix is not safely
 * positive definite gets the same factor by way of its eigenvalues, not another root: so L is
 * continuous in A where eigenvalues change their sign, too, and runs of neighbouring strengths,
 * which share z, stay near each other. What is triangular depends on the coordinates, as the
 * symmetric root does not: so do bits, but no law. */
#ifndef GM_ROOT_H
#define GM_ROOT_H

#include "product.h"

/* Matrices of one vector of particles. Entry i, j of a triangle, j <= i, and of a square: */
#define TRIANGLE(A, i, j) ((A) + ((size_t)(i) * ((i) + 1) / 2 + (j)) * GM_VL)
#define SQUARE(A, i, j) ((A) + ((size_t)(j) * d + (i)) * GM_VL)
#define PLACE(z, i) ((z) + (size_t)(i) * GM_VL)

/* R rows from i on of column j of L. What a row has left of its diagonal entry stands there. */
GM_INLINE void gm_cholesky_rows(const int R, int i, int j, vd inverse, double *A) {
  vd sum[8];
  GM_UNROLL
  for (int r = 0; r < R; r++) sum[r] = LD(TRIANGLE(A, i + r, j));
  for (int l = 0; l < j; l++) {
    vd by = -LD(TRIANGLE(A, j, l));
    GM_UNROLL
    for (int r = 0; r < R; r++) sum[r] = vfma(by, LD(TRIANGLE(A, i + r, l)), sum[r]);
  }
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    double *own = TRIANGLE(A, i + r, i + r);
    sum[r] *= inverse;
    AT(TRIANGLE(A, i + r, j)) = sum[r];
    AT(own) = vfma(-sum[r], sum[r], LD(own));
  }
}

/* The triangle A becomes L. A pivot that rounding alone may have made is raised to the size of
 * rounding, (d + 1) eps of its diagonal entry, which changes L L' by no more than that. The first
 * vector of `safe`, d vectors, becomes 1 in lanes where no pivot was raised, else 0. */
static GM_NOINLINE void gm_cholesky(int d, double *A, double *safe) {
  vu good = vless(vset(0), vset(1));
  for (int j = 0; j < d; j++) { /* the bounds, of the diagonal as it was */
    AT(PLACE(safe, j)) = vset((d + 1) * DBL_EPSILON) * vabs(LD(TRIANGLE(A, j, j)));
  }
  for (int j = 0; j < d; j++) {
    double *own = TRIANGLE(A, j, j);
    vd pivot = LD(own), least = LD(PLACE(safe, j));
    vu above = vless(least, pivot);
    good &= above;
    pivot = vselect(above, pivot, least);
    /* of a row of zeros the factor is exactly 0, by which the noise of a point mass is known */
    vd inverse = vset(1) / vsqrt(vmax(pivot, vset(DBL_MIN)));
    AT(own) = pivot * inverse;
    int i = j + 1;
    for (; i + 8 <= d; i += 8) gm_cholesky_rows(8, i, j, inverse, A);
    for (; i + 4 <= d; i += 4) gm_cholesky_rows(4, i, j, inverse, A);
    for (; i < d; i++) gm_cholesky_rows(1, i, j, inverse, A);
  }
  AT(safe) = vselect(good, vset(1), vset(0));
}

/* Rows i .. i + R - 1 of z <- L z; rows above them are still those of z. */
GM_INLINE void gm_lower_rows(const int R, int i, const double *L, double *z) {
  vd sum[8];
  GM_UNROLL
  for (int r = 0; r < R; r++) sum[r] = vset(0);
  for (int l = 0; l < i; l++) {
    vd zl = LD(PLACE(z, l));
    GM_UNROLL
    for (int r = 0; r < R; r++) sum[r] = vfma(LD(TRIANGLE(L, i + r, l)), zl, sum[r]);
  }
  GM_UNROLL
  for (int r = R - 1; r >= 0; r--) {
    for (int l = i; l <= i + r; l++) {
      sum[r] = vfma(LD(TRIANGLE(L, i + r, l)), LD(PLACE(z, l)), sum[r]);
    }
    AT(PLACE(z, i + r)) = sum[r];
  }
}

static GM_NOINLINE void gm_lower_times(int d, const double *L, double *z) {
  int i = d;
  for (; i >= 8; i -= 8) gm_lower_rows(8, i - 8, L, z);
  for (; i >= 4; i -= 4) gm_lower_rows(4, i - 4, L, z);
  for (; i > 0; i--) gm_lower_rows(1, i - 1, L, z);
}

/* The triangle `plus` <- A_+, by Jacobi's rotations; `negative` (a vector) becomes 1 where an
 * eigenvalue is negative beyond rounding. Destroys the square A, of which the part above the
 * diagonal is used; V is scratch of its size. A lane stops changing once its matrix is diagonal, so
 * its result does not depend on its neighbours. */
static GM_NOINLINE void gm_clip(int d, double *A, double *V, double *plus, double *negative) {
  const int most_sweeps = 30; /* some six sweeps are enough */
  vd size = vset(0);
  for (int j = 0; j < d; j++) {
    for (int i = 0; i < d; i++) {
      vd a = LD(i < j ? SQUARE(A, i, j) : SQUARE(A, j, i));
      size += a * a;
      AT(SQUARE(V, i, j)) = vset(i == j);
    }
  }
  size = vsqrt(size);
  vd small = vset(DBL_EPSILON / 2) * size;
  for (int sweep = 0, moved = 1; moved && sweep < most_sweeps; sweep++) {
    moved = 0;
    for (int q = 1; q < d; q++) {
      for (int p = 0; p < q; p++) {
        vd a = LD(SQUARE(A, p, q));
        vu mask = vless(small, vabs(a));
        if (!vany(mask)) continue;
        moved = 1;
        /* tan of the smaller angle that makes the entry 0 */
        vd by = LD(SQUARE(A, q, q)) - LD(SQUARE(A, p, p));
        vd two = vselect(mask, a + a, vset(1)), theta = by / two;
        vd t = vset(1) / (vabs(theta) + vsqrt(theta * theta + vset(1)));
        t = vselect(mask, vselect(vless(theta, vset(0)), -t, t), vset(0));
        vd c = vset(1) / vsqrt(t * t + vset(1)), s = t * c;
        AT(SQUARE(A, p, p)) -= t * a;
        AT(SQUARE(A, q, q)) += t * a;
        AT(SQUARE(A, p, q)) = vselect(mask, vset(0), a);
        for (int i = 0; i < d; i++) {
          double *x = i < p ? SQUARE(A, i, p) : SQUARE(A, p, i);
          double *y = i < q ? SQUARE(A, i, q) : SQUARE(A, q, i);
          double *f = SQUARE(V, i, p), *g = SQUARE(V, i, q);
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
  vd below = vset(0);
  for (int j = 0; j < d; j++) {
    vd value = LD(SQUARE(A, j, j)), root = vsqrt(vmax(value, vset(0)));
    below = vmin(below, value);
    for (int i = 0; i < d; i++) AT(SQUARE(V, i, j)) *= root;
  }
  for (int i = 0; i < d; i++) {
    for (int j = 0; j <= i; j++) {
      vd sum = vset(0);
      for (int l = 0; l < d; l++) sum = vfma(LD(SQUARE(V, i, l)), LD(SQUARE(V, j, l)), sum);
      AT(TRIANGLE(plus, i, j)) = sum;
    }
  }
  AT(negative) = vselect(vless(below, vset(-1e-10) * (size + vset(1))), vset(1), vset(0));
}

/* z <- L z in the lanes that wait: matrices in the square A, vectors in z. `at`: their places in
 * the rows z_of and `negative`. */
GM_INLINE void gm_root_waiting(int d, double *A, double *V, double *plus, double *z, double *safe,
                               const size_t *at, int waiting, size_t lanes, double *z_of,
                               double *negative) {
  double flag[GM_VL];
  if (!waiting) return;
  for (int w = waiting; w < GM_VL; w++) {
    for (int i = 0; i < d * d; i++) A[i * GM_VL + w] = 0;
    for (int i = 0; i < d; i++) PLACE(z, i)[w] = 0;
  }
  gm_clip(d, A, V, plus, flag);
  gm_cholesky(d, plus, safe);
  gm_lower_times(d, plus, z);
  for (int w = 0; w < waiting; w++) {
    for (int i = 0; i < d; i++) ROW(z_of, i)[at[w]] = PLACE(z, i)[w];
    if (flag[w] != 0) negative[at[w]] = 1;
  }
}

/* z <- L z for rows z, and the upper halves of d x d rows A; `negative` becomes 1 where an
 * eigenvalue is negative beyond rounding. Lanes that are not safely positive definite wait until
 * they fill a vector. work: 3 d^2 + 3 d doubles for each lane of a vector. */
GM_INLINE void gm_root(int d, const double *A, double *work, size_t lanes, double *z,
                       double *negative) {
  const size_t triangle = (size_t)d * (d + 1) / 2 * GM_VL;
  double *L = work, *own = L + triangle, *safe = own + (size_t)d * GM_VL;
  double *V = safe + (size_t)d * GM_VL, *late = V + (size_t)d * d * GM_VL;
  double *late_z = late + (size_t)d * d * GM_VL, *plus = L;
  size_t at[GM_VL];
  int waiting = 0;
  for (size_t v = 0; v < lanes; v += GM_VL) {
    for (int i = 0; i < d; i++) {
      AT(PLACE(own, i)) = LD(ROW(z, i) + v);
      for (int j = 0; j <= i; j++) {
        AT(TRIANGLE(L, i, j)) = LD(ROW(A, (size_t)i * d + j) + v);
      }
    }
    gm_cholesky(d, L, safe);
    gm_lower_times(d, L, own);
    vu good = vless(vset(0.5), LD(safe));
    for (int i = 0; i < d; i++) {
      AT(ROW(z, i) + v) = vselect(good, LD(PLACE(own, i)), LD(ROW(z, i) + v));
    }
    for (int lane = 0; lane < GM_VL; lane++) {
      if (safe[lane] > 0.5) continue;
      for (int j = 0; j < d; j++) {
        PLACE(late_z, j)[waiting] = ROW(z, j)[v + lane];
        for (int i = 0; i <= j; i++) {
          SQUARE(late, i, j)[waiting] = ROW(A, (size_t)j * d + i)[v + lane];
          SQUARE(late, j, i)[waiting] = 0; /* not used */
        }
        SQUARE(late, j, j)[waiting] = ROW(A, (size_t)j * d + j)[v + lane];
      }
      at[waiting++] = v + lane;
      if (waiting < GM_VL) continue;
      gm_root_waiting(d, late, V, plus, late_z, own, at, waiting, lanes, z, negative);
      waiting = 0;
    }
  }
  gm_root_waiting(d, late, V, plus, late_z, own, at, waiting, lanes, z, negative);
}

#undef TRIANGLE
#undef SQUARE
#undef PLACE
#endif
