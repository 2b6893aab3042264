/* Makes nets from the lists of R/net.R. */
#include "ffi_net.h"

#include <string.h>

/* Makes the tables of the replicates that the job's particles belong to. job$net is NULL, or a list
 * of per (particles of a replicate), key, and sobol (columns of the generating matrices for each
 * coordinate). */
const gm_net *ffi_net(SEXP job, uint64_t first, R_xlen_t n) {
  SEXP list = ffi_element(job, "net");
  if (list == R_NilValue || n == 0) return NULL;
  SEXP sobol = ffi_element(list, "sobol"), dim = Rf_getAttrib(sobol, R_DimSymbol);
  if (TYPEOF(sobol) != INTSXP || Rf_xlength(dim) != 2) Rf_error("internal error: 'sobol'");
  gm_net *net = (gm_net *)R_alloc(1, sizeof(gm_net));
  net->columns = INTEGER_RO(dim)[0];
  net->coordinates = INTEGER_RO(dim)[1];
  if (net->columns > 30) Rf_error("internal error: too many columns");
  net->per = (size_t)ffi_number(list, "per", 1, (double)((uint64_t)1 << net->columns));
  net->from = (size_t)(first / net->per);
  net->replicates = (size_t)((first + (uint64_t)n - 1) / net->per) - net->from + 1;
  size_t size = net->replicates * (size_t)net->coordinates * (size_t)(1 + net->columns);
  uint64_t *table = (uint64_t *)R_alloc(size, sizeof(uint64_t));
  gm_net_fill(ffi_key(list, "key"), INTEGER_RO(sobol), table, net);
  return net;
}

/* job[[name]]: for each row of normals its coordinate of the net, counted from 0, or -1 for none.
 * */
gm_points ffi_points(const gm_net *net, SEXP job, const char *name, R_xlen_t rows) {
  gm_points points = {net, NULL};
  if (!net) return points;
  if (ffi_element(job, name) == R_NilValue) {
    points.net = NULL;
    return points;
  }
  points.at = ffi_integers(job, name, rows);
  for (R_xlen_t i = 0; i < rows; i++) {
    if (points.at[i] < -1 || points.at[i] >= net->coordinates) {
      Rf_error("internal error: '%s' names a coordinate that is not there", name);
    }
  }
  return points;
}
