#include "propagate.h"

#include <math.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { LANES = 8 }; /* independent additions at a time */

/* Nodes that a mass reaches, with room for whole lanes. */
static size_t window_size(const gm_spreading *job, int axis) {
  double nodes = 2 * GM_SPREAD_REACH * job->sd / job->step[axis] + 2;
  double most = (double)job->size[axis];
  return (size_t)(nodes < most ? nodes : most) + LANES;
}

size_t gm_spread_stride(const gm_spreading *job) { return job->size[0] + LANES; }

size_t gm_spread_work_size(const gm_spreading *job) {
  return window_size(job, 0) + (job->r == 2 ? window_size(job, 1) : 0);
}

double gm_spread_nodes(const gm_spreading *job) {
  return (double)window_size(job, 0) * (job->r == 2 ? (double)window_size(job, 1) : 1);
}

/* The normal density with its mean at `at` (in grid steps from the first node) and standard
 * deviation 1/s steps. Returns the number of nodes within reach among `size`, the first of them,
 * and the values. From the middle outwards each value is the last one times a ratio, and the ratio
 * shrinks by a constant factor: three exponentials are enough. */
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

/* The normal density around `at` along axis 1, filled with zeros up to whole lanes. */
typedef struct { size_t left, count, padded; } gm_along;

static gm_along along_row(const gm_spreading *job, double at, double sd, double *along) {
  double h = job->step[0];
  gm_along row = {0, 0, 0};
  row.count = window((at - job->low[0]) / h, h / sd, job->size[0], &row.left, along);
  row.padded = (row.count + LANES - 1) / LANES * LANES;
  for (size_t j = row.count; j < row.padded; j++) along[j] = 0;
  return row;
}

/* Adds the masses [first, last) to the rows [from, to) of the grid. */
static void spread_rows(const gm_spreading *job, size_t first, size_t last, size_t from, size_t to,
                        double *work) {
  size_t stride = gm_spread_stride(job), n = job->n;
  const double *own = job->own;
  double *along = work, *up = work + window_size(job, 0);
  for (size_t i = first; i < last; i++) {
    size_t bottom = 0, rows = 1;
    double one = 1, *height = &one, c = job->mass[i] / job->step[0];
    if (job->r == 2) {
      double h = job->step[1], at = (job->x[n + i] - job->low[1]) / h, sd = own ? own[i] : job->sd;
      double reach = GM_SPREAD_REACH * sd / h;
      if (!(at + reach >= (double)from && at - reach < (double)to)) continue;
      rows = window(at, h / sd, job->size[1], &bottom, up);
      for (size_t j = 0; j < rows; j++) up[j] /= h;
      height = up;
    }
    int tilted = own && job->r == 2;
    gm_along row = {0, 0, 0};
    if (!tilted) {
      row = along_row(job, job->x[i], own ? own[i] : job->sd, along);
      if (!row.count) continue;
    }
    size_t low = bottom > from ? bottom : from, high = bottom + rows < to ? bottom + rows : to;
    for (size_t j = low; j < high; j++) {
      if (tilted) {
        double above = job->low[1] + (double)j * job->step[1] - job->x[n + i];
        row = along_row(job, job->x[i] + own[n + i] * above, own[2 * n + i], along);
      }
      add_row(c * height[j - bottom], along, row.padded, job->density + j * stride + row.left);
    }
  }
}

void gm_spread(const gm_spreading *job, size_t first, size_t last, int threads, double *work) {
  size_t rows = job->r == 2 ? job->size[1] : 1;
  /* more bands than threads, because most masses lie in the middle */
  size_t bands = threads > 1 ? (size_t)threads * 3 : 1;
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
    spread_rows(job, first, last, rows * band / bands, rows * (band + 1) / bands,
                work + area * gm_spread_work_size(job));
  }
}

/* A half of the grid, eliminated from its end towards the middle. The last eliminated node has the
 * equation p'_here = y + ratio p'_next. In half a step, toward p_here - back p_next flows through
 * the interface between it and the next node. */
typedef struct { double toward, back, ratio, y; } half_grid;

/* x coth x, to 2e-8 by its series where x is small, as on a fine grid. On a coarse grid it must
 * tend to |x|; otherwise the flux spreads more than the upwind flux does. */
static inline double x_coth_x(double x2) {
  if (x2 < .1) return 1 + x2 * (1. / 3 - x2 * (1. / 45 - x2 * (2. / 945)));
  double x = sqrt(x2);
  return x + 2 * x / expm1(2 * x);
}

/* Half of b h / D between the nodes i and i + 1. Its linear part is begins at the first node and
 * rises; the score counts h times. */
typedef struct { double begin, rise, h; const double *score; } half_drift;
static inline double half_drift_at(const half_drift *x, size_t i) {
  return x->begin + x->rise * (double)i + (x->score ? x->h * x->score[i] : 0);
}

/* x is half of b h / D at the interface ahead, positive towards the middle. The flux there is (D/h)
 * ((e + x) p_here - (e - x) p_next) with e = x coth x, exact for the stationary law of a constant b
 * (Chang and Cooper). No flow is negative, because e >= |x|. */
static inline void eliminate(half_grid *half, double x, double scale, double before, double here,
                             double next, double *y, double *ratio) {
  double e = x_coth_x(x * x);
  double toward = scale * (e + x), back = scale * (e - x), out = toward + half->back;
  double now = (1 - out) * here + half->toward * before + back * next;
  double pivot = 1 / (1 + out - half->toward * half->ratio);
  *y = half->y = (now + half->toward * half->y) * pivot;
  *ratio = half->ratio = back * pivot;
  half->toward = toward;
  half->back = back;
}

/* (I - dt L/2) p' = (I + dt L/2) p is solved from both ends towards the middle (a "twisted"
 * factorisation): two independent chains of divisions. */
void gm_fokker_planck_step(const gm_fokker_planck *step, double *p, double *work) {
  size_t n = step->n;
  double *y = work, *ratio = work + n, h = step->h;
  double scale = step->dt * step->diffusion2 / (4 * h * h);
  double pull = -h * step->drift / step->diffusion2;
  half_drift x = {pull * (step->low + h / 2), pull * h, h, step->score};
  half_grid low = {0, 0, 0, 0}, high = low;
  size_t m = n / 2, i = 0, j = n - 1;
  while (i < m) {
    eliminate(&low, half_drift_at(&x, i), scale, i ? p[i - 1] : 0, p[i], p[i + 1], y + i,
              ratio + i);
    i++;
    if (j == m) continue;
    eliminate(&high, -half_drift_at(&x, j - 1), scale, j + 1 < n ? p[j + 1] : 0, p[j], p[j - 1],
              y + j, ratio + j);
    j--;
  }
  double out = low.back + high.back;
  double now = (1 - out) * p[m] + low.toward * p[m - 1] + (m + 1 < n ? high.toward * p[m + 1] : 0);
  double left = (now + low.toward * low.y + high.toward * high.y) /
                (1 + out - low.toward * low.ratio - high.toward * high.ratio), right = left;
  p[m] = left;
  for (size_t k = 1; k <= m; k++) {
    p[m - k] = left = y[m - k] + ratio[m - k] * left;
    if (m + k < n) p[m + k] = right = y[m + k] + ratio[m + k] * right;
  }
}
