#include "spectrum.h"

#include <float.h>
#include <math.h>
#include <string.h>

static double dot(size_t n, const double *x, const double *y) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

static void add(size_t n, double by, const double *x, double *y) {
  for (size_t i = 0; i < n; i++) y[i] += by * x[i];
}

static void scale(size_t n, double by, double *x) {
  for (size_t i = 0; i < n; i++) x[i] *= by;
}

/* Reflections that make X (c x d, the rows of a root as columns) upper triangular in the columns
 * order[0], order[1], .... The longest column comes first, so that the triangle is graded as the
 * columns are, and its largest entry comes first, so that small rows stay small (Cox and Higham,
 * 1998). The columns from order[rank] on depend on the earlier ones. */
static int triangle(size_t d, size_t c, double *X, const double *least, size_t *order) {
  size_t rank = 0;
  for (size_t j = 0; j < d; j++) order[j] = j;
  for (; rank < c && rank < d; rank++) {
    size_t n = c - rank, best = d;
    double most = 0;
    for (size_t k = rank; k < d; k++) {
      double *x = X + order[k] * c + rank, length = sqrt(dot(n, x, x));
      if (length <= least[order[k]]) {
        memset(x, 0, sizeof(double) * n); /* rounding errors may exceed others */
      } else if (length > most) {
        most = length;
        best = k;
      }
    }
    if (best == d) break;
    size_t pivot = order[best], largest = 0;
    order[best] = order[rank];
    order[rank] = pivot;
    double *v = X + pivot * c + rank;
    for (size_t i = 1; i < n; i++) {
      if (fabs(v[i]) > fabs(v[largest])) largest = i;
    }
    for (size_t j = 0; largest > 0 && j < d; j++) {
      double *x = X + j * c + rank, entry = x[0];
      x[0] = x[largest];
      x[largest] = entry;
    }
    double end = v[0] > 0 ? -most : most;
    v[0] -= end;
    double by = -2 / dot(n, v, v);
    for (size_t k = rank + 1; k < d; k++) {
      double *x = X + order[k] * c + rank;
      add(n, by * dot(n, v, x), v, x);
    }
    memset(v, 0, sizeof(double) * n);
    v[0] = end;
  }
  return (int)rank;
}

/* Rotates the n columns of G (d x n) until they are orthogonal, up to the rounding of the summed
 * products. For graded columns this rounding is smaller than that of the lengths. */
static void orthogonalise(size_t d, size_t n, double *G, double *square) {
  const int most_sweeps = 60; /* some ten sweeps are enough */
  const double small = 2 * DBL_EPSILON * sqrt((double)d);
  for (int sweep = 0, moved = 1; moved && sweep < most_sweeps; sweep++) {
    moved = 0;
    for (size_t k = 0; k < n; k++) square[k] = dot(d, G + k * d, G + k * d);
    for (size_t p = 0; p + 1 < n; p++) {
      for (size_t q = p + 1; q < n; q++) {
        double *x = G + p * d, *y = G + q * d, sum = 0, size = 0;
        for (size_t i = 0; i < d; i++) {
          double xy = x[i] * y[i];
          sum += xy;
          size += fabs(xy);
        }
        if (fabs(sum) <= small * size) continue;
        moved = 1;
        /* tan of the smaller angle that makes the product 0 */
        double theta = (square[q] - square[p]) / (2 * sum);
        double t = copysign(1 / (fabs(theta) + sqrt(1 + theta * theta)), theta);
        double cosine = 1 / sqrt(1 + t * t), sine = t * cosine;
        for (size_t i = 0; i < d; i++) {
          double xi = x[i], yi = y[i];
          x[i] = cosine * xi - sine * yi;
          y[i] = sine * xi + cosine * yi;
        }
        square[p] -= t * sum;
        square[q] += t * sum;
      }
    }
  }
}

size_t gm_spectrum_work(int d, int c) {
  size_t m = (size_t)d, orders = (m * sizeof(size_t) + sizeof(double) - 1) / sizeof(double);
  return m * (size_t)c + m * m + m + orders;
}

int gm_spectrum(int dim, int columns, const double *root, const double *least, double *value,
                double *vector, double *work) {
  size_t d = (size_t)dim, c = (size_t)columns;
  double *X = work, *G = X + d * c, *square = G + d * d;
  size_t *order = (size_t *)(square + d);
  for (size_t j = 0; j < d; j++) {
    for (size_t i = 0; i < c; i++) X[j * c + i] = root[i * d + j];
  }
  size_t rank = (size_t)triangle(d, c, X, least, order);
  for (size_t j = 0; j < d; j++) {
    for (size_t i = 0; i < rank; i++) G[i * d + j] = X[j * c + i];
  }
  orthogonalise(d, rank, G, square);
  for (size_t k = 0; k < rank; k++) square[k] = dot(d, G + k * d, G + k * d);
  for (size_t k = 0; k < rank; k++) { /* the next largest */
    size_t best = 0;
    for (size_t i = 1; i < rank; i++) {
      if (square[i] > square[best]) best = i;
    }
    value[k] = square[best];
    memcpy(vector + k * d, G + best * d, sizeof(double) * d);
    scale(d, 1 / sqrt(square[best]), vector + k * d);
    square[best] = -1;
  }
  /* A column that is a combination of the others gives a vector that L' maps to 0. */
  for (size_t k = rank; k < d; k++) {
    double *w = vector + k * d, *x = X + order[k] * c;
    value[k] = 0;
    memset(w, 0, sizeof(double) * d);
    w[order[k]] = 1;
    for (size_t i = rank; i-- > 0;) {
      double sum = x[i];
      for (size_t l = i + 1; l < rank; l++) sum += X[order[l] * c + i] * w[order[l]];
      w[order[i]] = -sum / X[order[i] * c + i];
    }
    for (int twice = 0; twice < 2; twice++) {
      for (size_t l = rank; l < k; l++) add(d, -dot(d, vector + l * d, w), vector + l * d, w);
      scale(d, 1 / sqrt(dot(d, w, w)), w);
    }
  }
  return (int)rank;
}

/* The projector V V' onto the span of n orthonormal columns has a pivoted Cholesky factor. The
 * factor is an orthonormal basis of the span that does not depend on V. */
static void settle_span(size_t d, size_t n, double *V, double *basis, double *left) {
  for (size_t i = 0; i < d; i++) {
    left[i] = 0;
    for (size_t k = 0; k < n; k++) left[i] += V[k * d + i] * V[k * d + i];
  }
  for (size_t k = 0; k < n; k++) {
    double most = 0, *x = basis + k * d;
    size_t pivot = 0;
    for (size_t i = 0; i < d; i++) most = left[i] > most ? left[i] : most;
    while (left[pivot] < most * (1 - 1e-6)) pivot++; /* no choice by rounding */
    if (n == 1) {
      if (V[pivot] < 0) scale(d, -1, V);
      return;
    }
    memset(x, 0, sizeof(double) * d);
    for (size_t l = 0; l < n; l++) add(d, V[l * d + pivot], V + l * d, x);
    for (int twice = 0; twice < 2; twice++) {
      for (size_t l = 0; l < k; l++) add(d, -dot(d, basis + l * d, x), basis + l * d, x);
    }
    scale(d, 1 / sqrt(dot(d, x, x)), x);
    for (size_t i = 0; i < d; i++) left[i] -= x[i] * x[i];
    left[pivot] = 0;
  }
  memcpy(V, basis, sizeof(double) * d * n);
}

void gm_settle(int dim, int columns, double *value, double *vector, double absolute,
               double relative, double *work) {
  size_t d = (size_t)dim, all = (size_t)columns;
  for (size_t from = 0, n; from < all; from += n) {
    double sum = 0, top = value[from];
    double within = relative * top > absolute ? relative * top : absolute;
    for (n = 0; from + n < all && top - value[from + n] <= within; n++) sum += value[from + n];
    if (n == 0) n = 1; /* NaN */
    for (size_t k = from; n > 1 && k < from + n; k++) value[k] = sum / (double)n;
    settle_span(d, n, vector + from * d, work, work + d * n);
  }
}
