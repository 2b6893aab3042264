/* Products of a matrix that all particles share with rows of particles, in register tiles of 4 rows
 * x GM_TILE vectors. The result of a lane does not depend on its place in the block. */
#ifndef GM_PRODUCT_H
#define GM_PRODUCT_H

#include "simd.h"

#define ROW(p, i) ((p) + (size_t)(i) * lanes)
#define AT(p) (*(vd *)(p))
#define LD(p) (*(const vd *)(p))

#define GM_TILE (GM_VL == 8 ? 4 : 2) /* as many as the processor has registers for */

/* Beyond 1e150 standard deviations components count as equally likely, so that infinities are never
 * subtracted. */
#define GM_FAR 1e300

/* A matrix with rows at distance si and columns at distance sj, and the rows of particles. */
typedef struct { const double *m; size_t si, sj; } gm_matrix;
typedef struct { const double *at; size_t stride; } gm_rows;

/* acc[r][c] += sum_j m_rj x_j; if there is an n, acc[r][c] -= sum_j (m_rj x_j - n_rj)^2. */
GM_INLINE void gm_tile_add(const int R, const int C, int cols, gm_matrix m, const double *n,
                           gm_rows x, vd acc[4][4]) {
  for (int j = 0; j < cols; j++) {
    vd u[4];
    GM_UNROLL
    for (int c = 0; c < C; c++) u[c] = LD(x.at + j * x.stride + c * GM_VL);
    GM_UNROLL
    for (int r = 0; r < R; r++) {
      vd f = vset(m.m[r * m.si + j * m.sj]);
      vd g = vset(n ? n[r * m.si + j * m.sj] : 0);
      GM_UNROLL
      for (int c = 0; c < C; c++) {
        if (n) {
          vd y = vfma(f, u[c], -g);
          acc[r][c] = vfma(-y, y, acc[r][c]);
        } else {
          acc[r][c] = vfma(f, u[c], acc[r][c]);
        }
      }
    }
  }
}

/* One tile of y = start + that sum. start is a number per row, or y itself if `add`, or 0. */
GM_INLINE void gm_tile(const int R, const int C, int cols, gm_matrix m, const double *n,
                       const double *start, int add, gm_rows x, double *y, size_t stride) {
  vd acc[4][4];
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) {
      acc[r][c] = add ? LD(y + r * stride + c * GM_VL) : vset(start ? start[r] : 0);
    }
  }
  gm_tile_add(R, C, cols, m, n, x, acc);
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) {
      AT(y + r * stride + c * GM_VL) = n ? vmax(acc[r][c], vset(-GM_FAR)) : acc[r][c];
    }
  }
}

GM_INLINE void gm_tiles(int rows, int cols, gm_matrix m, const double *n, const double *start,
                        int add, gm_rows x, size_t lanes, double *y, size_t stride) {
  for (size_t v = 0; v < lanes;) {
    int wide = v + GM_TILE * GM_VL <= lanes;
    gm_rows u = {x.at + v, x.stride};
#define GM_RUN(R, C)                                                                       \
  gm_tile(R, C, cols, (gm_matrix){m.m + i * m.si, m.si, m.sj}, n ? n + i * m.si : NULL,      \
          start ? start + i : NULL, add, u, y + i * stride + v, stride)
    int i = 0;
    if (wide) {
      for (; i + 4 <= rows; i += 4) GM_RUN(4, GM_TILE);
      for (; i + 2 <= rows; i += 2) GM_RUN(2, GM_TILE);
      for (; i < rows; i++) GM_RUN(1, GM_TILE);
    } else {
      for (; i + 4 <= rows; i += 4) GM_RUN(4, 1);
      for (; i < rows; i++) GM_RUN(1, 1);
    }
#undef GM_RUN
    v += wide ? GM_TILE * GM_VL : GM_VL;
  }
}

/* y_i = start_i + sum_j m_ij x_j, i < rows, j < cols; the start is y_i itself if `add`, else a
 * number, or zero if NULL. Rows of y lie `stride` apart. */
static GM_NOINLINE void gm_product_to(int rows, int cols, gm_matrix m, const double *start, int add,
                                      gm_rows x, size_t lanes, double *y, size_t stride) {
  gm_tiles(rows, cols, m, NULL, start, add, x, lanes, y, stride);
}

GM_INLINE void gm_product(int rows, int cols, gm_matrix m, const double *start, int add, gm_rows x,
                          size_t lanes, double *y) {
  gm_product_to(rows, cols, m, start, add, x, lanes, y, lanes);
}

/* y_i = start_i - sum_j (m_ij x_j - n_ij)^2 */
static GM_NOINLINE void gm_distance(int rows, int cols, gm_matrix m, const double *n,
                                    const double *start, gm_rows x, size_t lanes, double *y) {
  gm_tiles(rows, cols, m, n, start, 0, x, lanes, y, lanes);
}

/* P = V diag(p) V', d x d with rows at distance ld (a multiple of 8): below the diagonal, and the
 * 4 x 4 blocks on it. w: d x ld numbers of scratch. */
static GM_NOINLINE void gm_precision(int d, const double *V, const double *p, size_t ld, double *w,
                                     double *P) {
  for (int l = 0; l < d; l++) {
    double *row = w + l * ld;
    for (int j = 0; j < d; j++) row[j] = p[l] * V[(size_t)l * d + j];
    for (size_t j = d; j < ld; j++) row[j] = 0;
  }
  for (int i = 0; i < d; i += 4) {
    size_t upto = (size_t)(i + 4 + 7) / 8 * 8;
    gm_product_to(d - i < 4 ? d - i : 4, d, (gm_matrix){V + i, 1, d}, NULL, 0, (gm_rows){w, ld},
                  upto < ld ? upto : ld, P + i * ld, ld);
  }
}

/* y = P x (NULL: not wanted) and q = x' P x, for P as gm_precision leaves it. */
GM_INLINE void gm_quadratic_tile(const int R, const int C, int i, int d, const double *P, size_t ld,
                                 gm_rows x, double *y, size_t stride, double *q) {
  vd acc[4][4], sum[4];
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) acc[r][c] = vset(0);
  }
  gm_tile_add(R, C, i, (gm_matrix){P + i * ld, ld, 1}, NULL, x, acc);
  if (!y) { /* symmetry: entries outside the diagonal blocks count twice */
    GM_UNROLL
    for (int r = 0; r < R; r++) {
      GM_UNROLL
      for (int c = 0; c < C; c++) acc[r][c] += acc[r][c];
    }
  }
  gm_rows diagonal = {x.at + i * x.stride, x.stride};
  gm_tile_add(R, C, R, (gm_matrix){P + i * ld + i, ld, 1}, NULL, diagonal, acc);
  if (y) {
    gm_rows below = {x.at + (i + R) * x.stride, x.stride};
    gm_tile_add(R, C, d - i - R, (gm_matrix){P + (i + R) * ld + i, 1, ld}, NULL, below, acc);
  }
  GM_UNROLL
  for (int c = 0; c < C; c++) sum[c] = i ? LD(q + c * GM_VL) : vset(0);
  GM_UNROLL
  for (int r = 0; r < R; r++) {
    GM_UNROLL
    for (int c = 0; c < C; c++) {
      if (y) AT(y + (i + r) * stride + c * GM_VL) = acc[r][c];
      sum[c] = vfma(acc[r][c], LD(x.at + (i + r) * x.stride + c * GM_VL), sum[c]);
    }
  }
  GM_UNROLL
  for (int c = 0; c < C; c++) AT(q + c * GM_VL) = sum[c];
}

static GM_NOINLINE void gm_quadratic(int d, const double *P, size_t ld, const double *x,
                                     size_t lanes, double *y, double *q) {
  for (size_t v = 0; v < lanes;) {
    int wide = v + GM_TILE * GM_VL <= lanes, i = 0;
    gm_rows u = {x + v, lanes};
    double *to = y ? y + v : NULL;
    if (wide) {
      for (; i + 4 <= d; i += 4) gm_quadratic_tile(4, GM_TILE, i, d, P, ld, u, to, lanes, q + v);
      for (; i < d; i++) gm_quadratic_tile(1, GM_TILE, i, d, P, ld, u, to, lanes, q + v);
    } else {
      for (; i + 4 <= d; i += 4) gm_quadratic_tile(4, 1, i, d, P, ld, u, to, lanes, q + v);
      for (; i < d; i++) gm_quadratic_tile(1, 1, i, d, P, ld, u, to, lanes, q + v);
    }
    v += wide ? GM_TILE * GM_VL : GM_VL;
  }
}

#endif
