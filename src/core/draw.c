#include "draw.h"

void gm_draw(const gm_normals *laws, size_t n, const int *component, const double *z, double *x,
             double *work) {
  const size_t d = laws->d;
  double *row = work, *scaled = work + d, *drawn = work + 2 * d;
  for (size_t i = 0; i < n; i++) {
    size_t k = (size_t)component[i] - 1;
    const double *sd = laws->sd + (laws->own_sd ? k * d : 0);
    const double *V = laws->vector ? laws->vector + (laws->own_vector ? k * d * d : 0) : NULL;
    for (size_t j = 0; j < d; j++) row[j] = z[j * n + i];
    if (V) {
      for (size_t j = 0; j < d; j++) {
        double sum = 0;
        for (size_t l = 0; l < d; l++) sum += V[j * d + l] * row[l];
        scaled[j] = sum * sd[j];
        drawn[j] = 0;
      }
      for (size_t j = 0; j < d; j++) {
        for (size_t l = 0; l < d; l++) drawn[l] += V[j * d + l] * scaled[j];
      }
    } else {
      for (size_t j = 0; j < d; j++) drawn[j] = row[j] * sd[j];
    }
    for (size_t j = 0; j < d; j++) x[j * n + i] = laws->mean[j * laws->K + k] + drawn[j];
  }
}
