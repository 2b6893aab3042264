/* The two ends of a reduced run (gm_expansion in gm.h), for one block of particles. Included once
 * per instruction set by engine.h. */
#ifndef GM_EXPAND_H
#define GM_EXPAND_H

#include "layout.h"
#include "net.h"
#include "product.h"
#include "vmath.h"

/* Y = M X, or Y += M X; element (i, l) of M is m[i * si + l * sj]. */
static void gm_combine(size_t rows, size_t cols, const double *m, size_t si, size_t sj,
                       const double *X, size_t lanes, int add, double *Y) {
  gm_product((int)rows, (int)cols, (gm_matrix){m, si, sj}, NULL, add, (gm_rows){X, lanes}, lanes,
             Y);
}

/* u_j += coef_j x_j */
static GM_NOINLINE void gm_add_rows(size_t d, const double *coef, const double *x, size_t lanes,
                                    double *u) {
  for (size_t j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(ROW(u, j) + v) = vfma(vset(coef[j]), LD(ROW(x, j) + v), LD(ROW(u, j) + v));
    }
  }
}

static GM_NOINLINE void gm_draw(uint64_t key, const gm_points *points, uint64_t first, size_t d,
                                size_t lanes, const gm_expansion_area *area, double *z) {
  int has_spare = 0;
  gm_rng_seed(key, first, lanes, area->rng);
  gm_normals(points, 0, first, area->rng, area->spare, &has_spare, (int)d, lanes, z);
}

/* Copies rows of lanes from or to `count` rows of a matrix with n rows, from row `first` on. */
static void gm_load(const double *from, size_t n, size_t d, size_t first, size_t count,
                    size_t lanes, double *to) {
  for (size_t j = 0; j < d; j++) {
    memcpy(ROW(to, j), from + first + n * j, sizeof(double) * count);
    /* lanes beyond the last particle hold numbers, too */
    memset(ROW(to, j) + count, 0, sizeof(double) * (lanes - count));
  }
}

static void gm_store(const double *from, size_t n, size_t d, size_t first, size_t count,
                     size_t lanes, double *to) {
  for (size_t j = 0; j < d; j++) {
    memcpy(to + first + n * j, ROW(from, j), sizeof(double) * count);
  }
}

/* The start, in the coordinates of the subspace. */
static const double *gm_begin(const gm_expansion *job, size_t first, size_t count,
                              const gm_expansion_area *area) {
  size_t d = job->d, lanes = job->lanes;
  double *z = area->z;
  if (job->start) {
    gm_load(job->start, job->n, d, first, count, lanes, z);
  } else {
    gm_draw(job->key, &job->points, job->first + first, d, lanes, area, z);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      vd sum = vset(0);
      for (size_t j = 0; j < d; j++) sum += LD(ROW(z, j) + v) * LD(ROW(z, j) + v);
      AT(area->square + v) = sum;
    }
    for (size_t i = 0; i < d * lanes; i += GM_VL) AT(z + i) *= vset(job->start_sd);
  }
  if (!job->from) return z;
  gm_combine(d, d, job->from, d, 1, z, lanes, 0, area->s);
  return area->s;
}

/* The lengths of the parts of x across Q, into the rows of h below Q'x, which are there. t: d rows
 * of scratch. */
static void gm_lengths(const gm_expansion *job, const double *x, double *t, double *h) {
  size_t d = job->d, r = job->r, lanes = job->lanes;
  double *length = ROW(h, r);
  for (size_t i = 0; i < d * lanes; i += GM_VL) AT(t + i) = -LD(x + i);
  gm_combine(d, r, job->within, 1, d, h, lanes, 1, t);
  memset(length, 0, sizeof(double) * job->lengths * lanes);
  for (size_t j = 0; j < d; j++) {
    if (job->across[j] < 0) continue;
    double *sum = ROW(length, job->across[j]);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(sum + v) += LD(ROW(t, j) + v) * LD(ROW(t, j) + v);
    }
  }
  for (size_t i = 0; i < job->lengths * lanes; i += GM_VL) AT(length + i) = vsqrt(LD(length + i));
}

/* Multiplies the parts of x by final / first length; these are the last rows of y and of h. */
static void gm_lengthen(const gm_expansion *job, const double *y, const double *h, double *x) {
  size_t lanes = job->lanes;
  for (size_t j = 0; j < job->d; j++) {
    if (job->across[j] < 0) continue;
    const double *final = ROW(y, job->r + job->across[j]), *first = ROW(h, job->r + job->across[j]);
    for (size_t v = 0; v < lanes; v += GM_VL) {
      AT(ROW(x, j) + v) *= gm_ratio(LD(final + v), LD(first + v), 0);
    }
  }
}

static void gm_project_block(const void *of, size_t block, int op_from, int op_to, double *work) {
  const gm_expansion *job = of;
  size_t d = job->d, r = job->r, n = job->n, lanes = job->lanes, first = block * lanes;
  size_t count = n - first < lanes ? n - first : lanes;
  (void)op_from, (void)op_to; /* there is one operation */
  gm_expansion_area area;
  gm_expansion_layout(job, work, &area);
  const double *start = gm_begin(job, first, count, &area);
  gm_combine(r, d, job->within, d, 1, start, lanes, 0, area.h);
  if (job->lengths) gm_lengths(job, start, area.u, area.h);
  gm_store(area.h, n, r + job->lengths, first, count, lanes, job->output);
  if (job->square) memcpy(job->square + first, area.square, sizeof(double) * count);
}

static void gm_expand_block(const void *of, size_t block, int op_from, int op_to, double *work) {
  const gm_expansion *job = of;
  size_t d = job->d, r = job->r, n = job->n, lanes = job->lanes, first = block * lanes;
  size_t count = n - first < lanes ? n - first : lanes;
  (void)op_from, (void)op_to; /* there is one operation */
  gm_expansion_area area;
  gm_expansion_layout(job, work, &area);
  double *u = area.u;
  for (size_t j = 0; j < d; j++) {
    for (size_t v = 0; v < lanes; v += GM_VL) AT(ROW(u, j) + v) = vset(job->shift[j]);
  }
  if (job->gain) {
    gm_add_rows(d, job->gain, gm_begin(job, first, count, &area), lanes, u);
  }
  if (job->sd) {
    gm_draw(job->noise_key, &job->rest, job->first + first, d, lanes, &area, area.z);
    gm_add_rows(d, job->sd, area.z, lanes, u);
  }
  gm_load(job->inside, n, r + job->lengths, first, count, lanes, area.y);
  gm_combine(r, d, job->within, d, 1, u, lanes, 0, area.h);
  if (job->lengths) {
    gm_lengths(job, u, area.z, area.h);
    gm_lengthen(job, area.y, area.h, u);
    gm_combine(r, d, job->within, d, 1, u, lanes, 0, area.h);
  }
  /* u + Q (y - Q'u) */
  for (size_t i = 0; i < r * lanes; i += GM_VL) AT(area.y + i) -= LD(area.h + i);
  gm_combine(d, r, job->within, 1, d, area.y, lanes, 1, u);
  if (job->to) {
    gm_combine(d, d, job->to, 1, d, u, lanes, 0, area.z);
    u = area.z;
  }
  gm_store(u, n, d, first, count, lanes, job->output);
}

#endif
