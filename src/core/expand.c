/* Block widths and costs of the two ends of a reduced run. */
#include "gm.h"
#include "layout.h"

/* As in gm_lanes(), a block should stay in the L2 cache. */
size_t gm_expansion_lanes(const gm_expansion *job) {
  const size_t cache = 131072 / sizeof(double), least = 16, most = 256;
  size_t lanes = cache / (2 * job->d + 2 * job->r) / 8 * 8;
  return lanes < least ? least : lanes > most ? most : lanes;
}

size_t gm_expansion_work_size(const gm_expansion *job) {
  gm_expansion_area area;
  return (gm_expansion_layout(job, NULL, &area) + 15) / 8 * 8;
}

/* Rough flops of a block. */
double gm_expansion_cost(const gm_expansion *job) {
  double d = (double)job->d, r = (double)job->r, turns = !!job->from + !!job->to;
  return (double)job->lanes * (40 * d + 4 * d * r + 2 * turns * d * d);
}
