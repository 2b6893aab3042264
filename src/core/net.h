/* Normals of particles that are points of scrambled Sobol nets (gm_net in gm.h). As in rng.h, the
 * normals of a particle depend on its number alone. */
#ifndef GM_NET_H
#define GM_NET_H

#include "gm.h"
#include "rng.h"

/* The position of the lowest bit. */
static inline int gm_lowest(size_t i) {
  int b = 0;
  while (!(i >> b & 1)) b++;
  return b;
}

/* A row of coordinate `at` for the particles from number `first` on. The order is that of Antonov
 * and Saleev (1979): each point differs from the one before in one column. */
static GM_NOINLINE void gm_net_row(const gm_net *net, int at, uint64_t first, size_t lanes,
                                   double *row) {
  size_t stride = 1 + (size_t)net->columns;
  for (size_t i = 0; i < lanes;) {
    size_t replicate = (size_t)((first + i) / net->per), j = (size_t)((first + i) % net->per);
    size_t end = lanes - i < net->per - j ? lanes : i + (net->per - j);
    size_t here = replicate - net->from;
    /* lanes beyond the last particle hold numbers, too */
    if (here >= net->replicates) here = net->replicates - 1;
    const uint64_t *table = net->table + (here * (size_t)net->coordinates + (size_t)at) * stride;
    uint64_t x = table[0];
    for (size_t gray = j ^ (j >> 1), b = 0; gray; gray >>= 1, b++) {
      if (gray & 1) x ^= table[1 + b];
    }
    memcpy(row + i, &x, sizeof x);
    for (i++, j++; i < end; i++, j++) {
      x ^= table[1 + gm_lowest(j)];
      memcpy(row + i, &x, sizeof x);
    }
  }
  for (size_t v = 0; v < lanes; v += GM_VL) {
    /* the middle of one of 2^52 intervals */
    vd u = vuniform12(vu_of(*(const vd *)(row + v))) - vset(1 - 0x1p-53);
    *(vd *)(row + v) = vquantile(u);
  }
}

/* `rows` rows of normals, from row number `row` on: points of the net, or independent. */
static void gm_normals(const gm_points *points, int row, uint64_t first, uint64_t *state,
                       double *spare, int *has_spare, int rows, size_t lanes, double *out) {
  if (!points->net) {
    gm_rng_normal(state, spare, has_spare, rows, lanes, out);
    return;
  }
  for (int i = 0; i < rows; i++, out += lanes) {
    int at = points->at[row + i];
    if (at < 0) {
      gm_rng_normal(state, spare, has_spare, 1, lanes, out);
    } else {
      gm_net_row(points->net, at, first, lanes, out);
    }
  }
}

#endif
