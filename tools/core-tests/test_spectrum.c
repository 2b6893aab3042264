/* Spectra of graded covariances, against the covariance itself, entry by entry. All buffers have
 * exactly the sizes asked for, so that the sanitizers see accesses beyond them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "spectrum.h"

static uint64_t state = 88172645463325252u;
static double uniform(void) { /* -1 to 1 */
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 4503599627370496.0 - 1;
}

static double product(int n, const double *x, int by_x, const double *y, int by_y) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i * by_x] * y[i * by_y];
  return sum;
}

static double *numbers(int n) { return calloc((size_t)n + 1, sizeof(double)); }

static void check_orthonormal(int d, int n, const double *V, double tolerance) {
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++) {
      CHECK_NEAR(product(d, V + i * d, 1, V + j * d, 1), i == j, tolerance);
    }
  }
}

/* A root of d rows and c columns, rank of them independent, with rows of size 10^(-grade .. grade).
 * */
static void check_spectrum(int d, int c, int rank, double grade) {
  double *root = numbers(d * c), *least = numbers(d), *value = numbers(d), *vector = numbers(d * d);
  double *sd = numbers(d), *mix = numbers(rank * c);
  double *work = malloc(sizeof(double) * gm_spectrum_work(d, c));
  for (int i = 0; i < rank * c; i++) mix[i] = uniform();
  for (int j = 0; j < d; j++) {
    double scale = pow(10, grade * uniform());
    for (int k = 0; k < rank; k++) {
      double weight = k == j ? 2 : uniform();
      for (int i = 0; i < c; i++) root[i * d + j] += scale * weight * mix[k * c + i];
    }
    sd[j] = sqrt(product(c, root + j, d, root + j, d));
    least[j] = 1e-12 * sd[j];
  }
  CHECK(gm_spectrum(d, c, root, least, value, vector, work) == rank);
  check_orthonormal(d, d, vector, 1e-13);
  for (int k = 0; k + 1 < d; k++) CHECK(value[k] >= value[k + 1]);
  for (int k = rank; k < d; k++) {
    CHECK(value[k] == 0);
    for (int i = 0; i < c; i++) { /* L'w = 0, relative to its terms */
      double size = 0;
      for (int j = 0; j < d; j++) size += fabs(root[i * d + j] * vector[k * d + j]);
      double sum = product(d, root + i * d, 1, vector + k * d, 1);
      if (size > 0) CHECK_NEAR(sum / size, 0, 1e-10);
    }
  }
  for (int a = 0; a < d; a++) {
    for (int b = 0; b <= a; b++) {
      double S = product(c, root + a, d, root + b, d), sum = 0;
      for (int k = 0; k < d; k++) sum += vector[k * d + a] * value[k] * vector[k * d + b];
      if (sd[a] > 0 && sd[b] > 0) CHECK_NEAR((sum - S) / sd[a] / sd[b], 0, 1e-13);
    }
  }
  /* P = V diag(1/value) V' is equally exact: P S is the identity, relative to sd_b / sd_a */
  for (int a = 0; rank == d && a < d; a++) {
    for (int b = 0; b < d; b++) {
      double sum = 0;
      for (int j = 0; j < d; j++) {
        double P = 0, S = product(c, root + j, d, root + b, d);
        for (int k = 0; k < d; k++) P += vector[k * d + a] * vector[k * d + j] / value[k];
        sum += P * S;
      }
      CHECK_NEAR(sum * sd[a] / sd[b], a == b, 1e-7);
    }
  }
  free(root);
  free(least);
  free(value);
  free(vector);
  free(sd);
  free(mix);
  free(work);
}

/* n vectors of d numbers with equal eigenvalues: any other basis of their span gives the same
 * result. */
static void check_settled(int d, int n) {
  double *V = numbers(d * n), *W = numbers(d * n), *value = numbers(n);
  double *work = malloc(sizeof(double) * (size_t)(d * (n + 1)));
  for (int k = 0; k < n; k++) {
    for (int i = 0; i < d; i++) V[k * d + i] = uniform();
    for (int twice = 0; twice < 2; twice++) {
      for (int l = 0; l < k; l++) {
        double by = product(d, V + l * d, 1, V + k * d, 1);
        for (int i = 0; i < d; i++) V[k * d + i] -= by * V[l * d + i];
      }
    }
    double size = sqrt(product(d, V + k * d, 1, V + k * d, 1));
    for (int i = 0; i < d; i++) V[k * d + i] /= size;
    value[k] = 1 + 1e-15 * (n - k);
  }
  memcpy(W, V, sizeof(double) * (size_t)(d * n));
  for (int k = 0; k + 1 < n; k++) { /* rotations, and a sign */
    double c = uniform(), s = sqrt(1 - c * c);
    for (int i = 0; i < d; i++) {
      double x = W[k * d + i], y = W[(k + 1) * d + i];
      W[k * d + i] = c * x - s * y;
      W[(k + 1) * d + i] = -(s * x + c * y);
    }
  }
  gm_settle(d, n, value, V, 1e-12, 0, work);
  gm_settle(d, n, value, W, 0, 1e-12, work);
  check_orthonormal(d, n, V, 1e-13);
  for (int i = 0; i < d * n; i++) CHECK_NEAR(W[i], V[i], 1e-11);
  for (int k = 1; k < n; k++) CHECK(value[k] == value[0]);
  free(V);
  free(W);
  free(value);
  free(work);
}

int main(void) {
  const double grade[] = {0, 3, 9, 30};
  for (int g = 0; g < 4; g++) {
    for (int d = 1; d <= 6; d++) {
      for (int rank = 0; rank <= d; rank++) {
        for (int c = rank; c <= rank + 2; c++) check_spectrum(d, c, rank, grade[g]);
      }
    }
  }
#ifndef QUICK
  check_spectrum(60, 60, 60, 9);
  check_spectrum(60, 90, 40, 9);
#endif
  for (int d = 1; d <= 8; d++) {
    for (int n = 1; n <= d; n++) check_settled(d, n);
  }
  /* vectors of different values stay, with a positive largest entry */
  double value[] = {3, 2, 1}, work[12];
  double vector[] = {-.6, -.8, 0, .8, -.6, 0, 0, 0, -1};
  const double known[] = {.6, .8, 0, .8, -.6, 0, 0, 0, 1};
  gm_settle(3, 3, value, vector, 0, 1e-12, work);
  for (int i = 0; i < 9; i++) CHECK(vector[i] == known[i]);
  return check_finish();
}
