#include "propagate.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { LANES = 8 }; /* additions at a time, which need not wait for each other */

/* Nodes within reach of a mass, and room for whole lanes. */
static size_t window_size(const gm_spreading *job, int axis) {
  double nodes = 2 * GM_SPREAD_REACH * job->sd / job->step[axis] + 2;
  double most = (double)job->size[axis];
  return (size_t)(nodes < most ? nodes : most) + LANES;
}

size_t gm_spread_stride(const gm_spreading *job) { return job->size[0] + LANES; }

size_t gm_spread_work_size(const gm_spreading *job) {
  return window_size(job, 0) + (job->r == 2 ? window_size(job, 1) : 0);
}

/* The normal density with its mean at `at` (in grid steps from the first node) and standard
 * deviation 1/s steps, at the nodes within reach among size of them: their number, the first of
 * them and the values. From the middle outwards each value is the last times a ratio, which shrinks
 * by the same factor every time: three exponentials for all. */
static size_t window(double at, double s, size_t size, size_t *first, double *value) {
  double reach = GM_SPREAD_REACH / s, last = (double)(size - 1);
  double from = ceil(at - reach), to = floor(at + reach);
  if (from < 0) from = 0;
  if (to > last) to = last;
  if (!(from <= to)) return 0;
  double middle = floor(at + .5);
  if (middle < from) middle = from;
  if (middle > to) middle = to;
  double t = (middle - at) * s, shrink = exp(-s * s);
  double peak = .39894228040143267794 * s * exp(-t * t / 2);
  size_t m = (size_t)(middle - from), count = (size_t)(to - from) + 1;
  double up = exp(-t * s - s * s / 2), down = exp(t * s - s * s / 2);
  value[m] = peak;
  for (size_t i = m + 1; i < count; i++) {
    value[i] = value[i - 1] * up;
    up *= shrink;
  }
  for (size_t i = m; i > 0; i--) {
    value[i - 1] = value[i] * down;
    down *= shrink;
  }
  *first = (size_t)from;
  return count;
}

static void add_row(double c, const double *value, size_t count, double *row) {
  for (size_t i = 0; i < count; i += LANES) {
    for (size_t l = 0; l < LANES; l++) row[i + l] += c * value[i + l];
  }
}

/* All masses into the rows [from, to) of the grid. */
static void spread_rows(const gm_spreading *job, size_t from, size_t to, double *work) {
  size_t stride = gm_spread_stride(job), n = job->n;
  double *along = work, *up = work + window_size(job, 0);
  memset(job->density + from * stride, 0, sizeof(double) * (to - from) * stride);
  for (size_t i = 0; i < n; i++) {
    size_t left, count, bottom = 0, rows = 1;
    double one = 1, *height = &one;
    if (job->r == 2) {
      double h = job->step[1], at = (job->x[n + i] - job->low[1]) / h;
      double reach = GM_SPREAD_REACH * job->sd / h;
      if (!(at + reach >= (double)from && at - reach < (double)to)) continue;
      rows = window(at, h / job->sd, job->size[1], &bottom, up);
      for (size_t j = 0; j < rows; j++) up[j] /= h;
      height = up;
    }
    double h = job->step[0];
    count = window((job->x[i] - job->low[0]) / h, h / job->sd, job->size[0], &left, along);
    if (!count) continue;
    size_t padded = (count + LANES - 1) / LANES * LANES;
    for (size_t j = count; j < padded; j++) along[j] = 0;
    size_t low = bottom > from ? bottom : from, high = bottom + rows < to ? bottom + rows : to;
    for (size_t j = low; j < high; j++) {
      add_row(job->mass[i] / h * height[j - bottom], along, padded,
              job->density + j * stride + left);
    }
  }
}

void gm_spread(const gm_spreading *job, int threads, double *work) {
  size_t rows = job->r == 2 ? job->size[1] : 1;
  /* bands, a few for each thread: masses lie in the middle */
  size_t bands = threads > 1 ? (size_t)threads * 8 : 1;
  if (bands > rows) bands = rows;
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
#endif
  for (size_t band = 0; band < bands; band++) {
    size_t area = 0;
#ifdef _OPENMP
    area = (size_t)omp_get_thread_num();
#endif
    spread_rows(job, rows * band / bands, rows * (band + 1) / bands,
                work + area * gm_spread_work_size(job));
  }
}

/* The flux from node i to i + 1 is (D/h) ((e + w/2) p_i - (e - w/2) p_{i+1}) with w = b h / D and
 * e = (w/2) coth(w/2), for which the stationary law of a constant b is exact. Of the continued
 * fraction of x coth x = 1 + x^2/(3 + x^2/(5 + x^2/(7 + ... three terms are enough here: the error
 * is of order h^8, and e > |w|/2 for any w, so that what flows out of p > 0 leaves p > 0.
 *
 * (I - dt L/2) p' = (I + dt L/2) p is solved from both ends towards the middle: two chains of
 * divisions, of which neither waits for the other (a "twisted" factorisation). */
void gm_fokker_planck_step(size_t n, double h, double dt, double D, const double *drift, double *p,
                           double *work) {
  double *right = work, *left = work + n;     /* half a step's flow i -> i + 1, and i + 1 -> i */
  double *rhs = work + 2 * n, *ratio = work + 3 * n, *diagonal = work + 4 * n;
  double scale = dt / 2 * D / (h * h), half = h / (2 * D);
  for (size_t i = 0; i + 1 < n; i++) {
    double x = half * drift[i], x2 = x * x;
    double e = 1 + x2 * (35 + x2) / (105 + 10 * x2);
    right[i] = scale * (e + x);
    left[i] = scale * (e - x);
  }
  double in = 0, out = right[0];
  for (size_t i = 0; i < n; i++) {
    double from_right = 0;
    out = 0;
    if (i + 1 < n) {
      from_right = left[i] * p[i + 1];
      out = right[i];
    }
    if (i > 0) out += left[i - 1];
    diagonal[i] = 1 + out;
    rhs[i] = (1 - out) * p[i] + in + from_right;
    if (i + 1 < n) in = right[i] * p[i];
  }
  /* below: p'_i = rhs_i + ratio_i p'_{i+1} for i < m; above: p'_i = rhs_i + ratio_i p'_{i-1} */
  size_t m = n / 2, i = 0, j = n - 1;
  double r1 = 0, y1 = 0, r2 = 0, y2 = 0;
  while (i < m || j > m) {
    if (i < m) {
      double in1 = i ? right[i - 1] : 0, pivot = 1 / (diagonal[i] - in1 * r1);
      y1 = (rhs[i] + in1 * y1) * pivot;
      r1 = left[i] * pivot;
      rhs[i] = y1;
      ratio[i++] = r1;
    }
    if (j > m) {
      double in2 = j + 1 < n ? left[j] : 0, pivot = 1 / (diagonal[j] - in2 * r2);
      y2 = (rhs[j] + in2 * y2) * pivot;
      r2 = right[j - 1] * pivot;
      rhs[j] = y2;
      ratio[j--] = r2;
    }
  }
  double in1 = m ? right[m - 1] : 0, in2 = m + 1 < n ? left[m] : 0;
  double value = (rhs[m] + in1 * y1 + in2 * y2) / (diagonal[m] - in1 * r1 - in2 * r2);
  p[m] = value;
  double up = value;
  for (size_t k = 1; k <= m || m + k < n; k++) {
    if (k <= m) p[m - k] = value = rhs[m - k] + ratio[m - k] * value;
    if (m + k < n) p[m + k] = up = rhs[m + k] + ratio[m + k] * up;
  }
}
