/* Draws of given components from standard normals. */
#ifndef GM_DRAW_H
#define GM_DRAW_H

#include <stddef.h>

/* K normal laws in d dimensions. `mean` is K x d; `sd` d x K, or d where all share it; `vector`,
 * the eigenvectors, d x d x K, d x d where all share them, or NULL for coordinates' axes. */
typedef struct {
  size_t d, K;
  const double *mean, *sd, *vector;
  int own_sd, own_vector;
} gm_normals;

/* x_i = mean_k + V_k diag(sd_k) V_k' z_i for k = component[i], counted from 1; x and z are n x d.
 * A row's result depends on that row alone. work holds 3 d doubles. */
void gm_draw(const gm_normals *laws, size_t n, const int *component, const double *z, double *x,
             double *work);

#endif
