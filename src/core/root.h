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

#include "hessian.h"

/* Matrices of one vector of particles are triangles (hessian.h) or squares, whose entry i, j is */
#define SQUARE(A, i, j) ((A) + ((size_t)(j) * d + (i)) * GM_VL)

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

/* The square A, of which the part above the diagonal is used, becomes the triangle of A_+, by
 * Jacobi's rotations; `negative` (a vector) becomes 1 where an eigenvalue is negative beyond
 * rounding. V is scratch of the size of A. A lane stops changing once its matrix is diagonal, so
 * its result does not depend on its neighbours. */
static GM_NOINLINE void gm_clip(int d, double *A, double *V, double *negative) {
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
      AT(TRIANGLE(A, i, j)) = sum;
    }
  }
  AT(negative) = vselect(vless(below, vset(-1e-10) * (size + vset(1))), vset(1), vset(0));
}

/* What a root needs for one vector of particles, and the lanes that are not safely positive
 * definite, which wait until they fill a vector. */
typedef struct {
  double *A, *z, *safe;      /* a triangle, d and d vectors */
  double *late, *late_z, *V; /* a square, d vectors and a square */
  size_t at[GM_VL];          /* their places */
  int waiting;
} gm_roots;

/* Takes 3 d^2 + 3 d doubles of `work` for each lane of a vector. */
GM_INLINE gm_roots gm_roots_in(int d, double *work) {
  const size_t row = (size_t)d * GM_VL, square = row * d, triangle = (square + row) / 2;
  double *z = work + triangle, *late = z + 2 * row;
  return (gm_roots){work, z, z + row, late, late + square, late + square + row, {0}, 0};
}

/* z <- L z in the lanes that wait. */
GM_INLINE void gm_root_waiting(int d, gm_roots *roots, size_t lanes, double *z, double *negative) {
  double flag[GM_VL];
  int waiting = roots->waiting;
  if (!waiting) return;
  roots->waiting = 0;
  for (int w = waiting; w < GM_VL; w++) {
    for (int i = 0; i < d * d; i++) roots->late[i * GM_VL + w] = 0;
    for (int i = 0; i < d; i++) PLACE(roots->late_z, i)[w] = 0;
  }
  gm_clip(d, roots->late, roots->V, flag);
  gm_cholesky(d, roots->late, roots->V);
  gm_lower_times(d, roots->late, roots->late_z);
  for (int w = 0; w < waiting; w++) {
    for (int i = 0; i < d; i++) ROW(z, i)[roots->at[w]] = PLACE(roots->late_z, i)[w];
    if (flag[w] != 0) negative[roots->at[w]] = 1;
  }
}

/* z <- L z for the vector at v of the rows z, in the lanes whose matrix, the triangle roots->A, is
 * safely positive definite. Are they all? Destroys the matrix. */
GM_INLINE int gm_root(int d, gm_roots *roots, size_t lanes, size_t v, double *z) {
  for (int i = 0; i < d; i++) AT(PLACE(roots->z, i)) = LD(ROW(z, i) + v);
  gm_cholesky(d, roots->A, roots->safe);
  gm_lower_times(d, roots->A, roots->z);
  vu good = vless(vset(0.5), LD(roots->safe));
  for (int i = 0; i < d; i++) {
    AT(ROW(z, i) + v) = vselect(good, LD(PLACE(roots->z, i)), LD(ROW(z, i) + v));
  }
  return !vany(~good);
}

/* The other lanes, with the matrix made anew. `negative` becomes 1 where an eigenvalue is negative
 * beyond rounding. */
GM_INLINE void gm_root_later(int d, gm_roots *roots, size_t lanes, size_t v, double *z,
                             double *negative) {
  for (int lane = 0; lane < GM_VL; lane++) {
    if (roots->safe[lane] > 0.5) continue;
    int w = roots->waiting++;
    for (int j = 0; j < d; j++) {
      PLACE(roots->late_z, j)[w] = ROW(z, j)[v + lane];
      for (int i = 0; i <= j; i++) SQUARE(roots->late, i, j)[w] = TRIANGLE(roots->A, j, i)[lane];
    }
    roots->at[w] = v + lane;
    if (roots->waiting == GM_VL) gm_root_waiting(d, roots, lanes, z, negative);
  }
}

#undef SQUARE
#endif
