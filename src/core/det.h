/* log|det| of a d x d matrix per lane, by elimination on columns with partial pivoting. */
#ifndef GM_DET_H
#define GM_DET_H

#include "product.h"
#include "vmath.h"

/* Swaps columns p and q (`rows` rows each) in the lanes of the mask. */
GM_INLINE void gm_swap_columns(double *M, int rows, int p, int q, size_t lanes, size_t v,
                               vu mask) {
  for (int i = 0; i < rows; i++) {
    double *a = ROW(M, (size_t)p * rows + i) + v, *b = ROW(M, (size_t)q * rows + i) + v;
    vd x = LD(a), y = LD(b);
    AT(a) = vselect(mask, y, x);
    AT(b) = vselect(mask, x, y);
  }
}

/* column q -= f * column p, from row `from` on */
GM_INLINE void gm_eliminate(double *M, int rows, int from, int p, int q, size_t lanes, size_t v,
                            vd f) {
  for (int i = from; i < rows; i++) {
    double *a = ROW(M, (size_t)q * rows + i) + v;
    AT(a) = LD(a) - f * LD(ROW(M, (size_t)p * rows + i) + v);
  }
}

GM_INLINE void gm_scale_column(double *M, int rows, int p, size_t lanes, size_t v, vd f) {
  for (int i = 0; i < rows; i++) {
    double *a = ROW(M, (size_t)p * rows + i) + v;
    AT(a) = LD(a) * f;
  }
}

/* Adds log|det M| to logdet, and sets folded to 1 where det M < 0. Destroys M. Each of the n_other
 * matrices X becomes X M^-1, by the same column operations. */
GM_INLINE void gm_determinant(int d, double *M, double **other, int n_other, size_t lanes,
                              double *logdet, double *folded) {
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vu sign = vu_of(vset(0));
    vd sum = vset(0);
    for (int p = 0; p < d; p++) {
      double *pivot = ROW(M, (size_t)p * d + p) + v;
      for (int q = p + 1; q < d; q++) {
        vu larger = vless(vabs(LD(pivot)), vabs(LD(ROW(M, (size_t)q * d + p) + v)));
        sign ^= larger & 0x8000000000000000ULL;
        gm_swap_columns(M, d, p, q, lanes, v, larger);
        for (int o = 0; o < n_other; o++) gm_swap_columns(other[o], d, p, q, lanes, v, larger);
      }
      vd u = LD(pivot);
      vu regular = vless(vset(0), vabs(u));
      vd inverse = vd_of(vu_of(vset(1.0) / u) & regular);
      sign ^= vu_of(u) & 0x8000000000000000ULL & regular;
      sum += vlog(vabs(u));
      if (!n_other) {
        for (int q = p + 1; q < d; q++) {
          vd f = LD(ROW(M, (size_t)q * d + p) + v) * inverse;
          gm_eliminate(M, d, p, p, q, lanes, v, f);
        }
        continue;
      }
      /* Gauss-Jordan: M becomes I, and the same operations make X M^-1 of X */
      gm_scale_column(M, d, p, lanes, v, inverse);
      for (int o = 0; o < n_other; o++) gm_scale_column(other[o], d, p, lanes, v, inverse);
      for (int q = 0; q < d; q++) {
        if (q == p) continue;
        vd f = LD(ROW(M, (size_t)q * d + p) + v);
        gm_eliminate(M, d, 0, p, q, lanes, v, f);
        for (int o = 0; o < n_other; o++) gm_eliminate(other[o], d, 0, p, q, lanes, v, f);
      }
    }
    AT(logdet + v) += sum;
    AT(folded + v) = vselect(vless(vd_of(sign | vu_of(vset(1.0))), vset(0)), vset(1.0),
                             LD(folded + v));
  }
}

#endif
