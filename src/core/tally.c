#include "tally.h"

#include <string.h>

/* Sums in eight independent lanes, so that no addition waits for the one before. */
static double sum_of(const double *a) {
  double sum[8] = {0};
  for (size_t i = 0; i < GM_TALLY_ROWS; i += 8) {
    for (size_t l = 0; l < 8; l++) sum[l] += a[i + l];
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static double dot(const double *a, const double *b) {
  double sum[8] = {0};
  for (size_t i = 0; i < GM_TALLY_ROWS; i += 8) {
    for (size_t l = 0; l < 8; l++) sum[l] += a[i + l] * b[i + l];
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* Copies a tile of `count` numbers less their mean, filled up with zeros; returns the mean. */
static double centred(double *tile, size_t count) {
  memset(tile + count, 0, sizeof(double) * (GM_TALLY_ROWS - count));
  double mean = sum_of(tile) / (double)count;
  for (size_t i = 0; i < count; i++) tile[i] -= mean;
  return mean;
}

/* Tiles are merged one by one, as in Chan, Golub and LeVeque (1983). */
void gm_moments(const double *x, size_t n, size_t m, const double *centre, int squares,
                double *mean, double *cross, double *work) {
  size_t p = squares ? 2 * m : m;
  double *shift = work + p * GM_TALLY_ROWS;
  memset(mean, 0, sizeof(double) * p);
  memset(cross, 0, sizeof(double) * p * p);
  for (size_t from = 0; from < n; from += GM_TALLY_ROWS) {
    size_t count = n - from < GM_TALLY_ROWS ? n - from : GM_TALLY_ROWS;
    for (size_t j = 0; j < m; j++) {
      const double *column = x + n * j + from;
      double *y = work + GM_TALLY_ROWS * j, *square = y + GM_TALLY_ROWS * m;
      for (size_t i = 0; i < count; i++) y[i] = column[i] - centre[j];
      if (squares) {
        for (size_t i = 0; i < count; i++) square[i] = y[i] * y[i];
      }
    }
    double share = (double)count / (double)(from + count);
    for (size_t a = 0; a < p; a++) {
      double here = centred(work + GM_TALLY_ROWS * a, count);
      shift[a] = here - mean[a];
      for (size_t b = 0; b <= a; b++) {
        cross[p * a + b] += dot(work + GM_TALLY_ROWS * a, work + GM_TALLY_ROWS * b) +
                            shift[a] * shift[b] * (double)from * share;
      }
      mean[a] = mean[a] * (1 - share) + here * share;
    }
  }
  for (size_t a = 0; a < p; a++) {
    for (size_t b = 0; b < a; b++) cross[p * b + a] = cross[p * a + b];
  }
}

void gm_histogram(const double *x, size_t n, double low, double width, size_t bins, double *count,
                  double *least, double *most) {
  double end = (double)bins, per_width = 1 / width;
  for (size_t i = 0; i < n; i++) {
    double at = (x[i] - low) * per_width;
    count[at < 0 ? 0 : at < end ? 1 + (size_t)at : at > end ? bins + 1 : bins]++;
    if (x[i] < *least) *least = x[i];
    if (x[i] > *most) *most = x[i];
  }
}
