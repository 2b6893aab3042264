/* Densities on grids, carried by a step of a Markov chain or of a Fokker-Planck equation. Each cell
 * adds its contributions in a fixed order, so the bits are the same for any number of threads. */
#ifndef GM_PROPAGATE_H
#define GM_PROPAGATE_H

#include <stddef.h>

/* The law of Y + sd Z on a grid, for point masses Y and a standard normal Z in r = 1 or 2
 * dimensions: density(g) = sum_i mass_i N(g; x_i, sd^2 I). Noise that depends on its starting point
 * has a covariance for each mass. */
typedef struct {
  int r;
  size_t n;
  const double *x;    /* n x r: places of the masses */
  const double *mass; /* n */
  double sd;          /* of all masses, or the largest of those in `own` */
  /* NULL; or n (r = 1): the sd of each mass; or n x 3: its sd along axis 2 and, given the value
   * there, the slope and sd along axis 1 */
  const double *own;
  const double *low;  /* r: the first node along each axis */
  const double *step; /* r */
  const size_t *size; /* r: nodes along each axis */
  double *density;    /* a row of size[0] numbers per node of axis 2, padded to a stride */
} gm_spreading;

/* A normal density counts as zero beyond this many standard deviations: it is less than 1e-17 of
 * its peak there, and its tails hold 2e-19. */
#define GM_SPREAD_REACH 9.0

size_t gm_spread_stride(const gm_spreading *job);
size_t gm_spread_work_size(const gm_spreading *job); /* doubles of work area for each thread */

double gm_spread_nodes(const gm_spreading *job); /* nodes that a mass may reach */

/* Adds the masses [first, last) to the density. The caller has set the density to zero. */
void gm_spread(const gm_spreading *job, size_t first, size_t last, int threads, double *work);

/* A step of length `dt` of p_t = -(b p)_x + D p_xx, b = G^2 score - f x and D = G^2/2. Nothing
 * flows through the ends of the grid. The scheme is the implicit midpoint rule (Crank and Nicolson)
 * in time and Chang and Cooper's flux in space. */
typedef struct {
  size_t n;                   /* nodes, 2 or more */
  double low, h;              /* the first node, and the spacing */
  double dt, diffusion2, drift; /* G^2 and f in the middle of the step */
  const double *score;        /* the score at the n - 1 midpoints of the grid; NULL: zero */
} gm_fokker_planck;

/* The result replaces p. work: 2 n doubles. */
void gm_fokker_planck_step(const gm_fokker_planck *step, double *p, double *work);

#endif
