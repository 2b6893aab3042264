/* Spectra of covariances L L' whose variances may differ by any factor. Every number has the
 * precision of its own row; LAPACK's numbers have that of the largest (Demmel and Veselic, 1992).
 * */
#ifndef GM_SPECTRUM_H
#define GM_SPECTRUM_H

#include <stddef.h>

/* Eigenvalues (d, decreasing) and orthonormal eigenvectors (d x d) of L L'; returns its rank. A row
 * of L (d x c) counts as dependent on the others if its remainder is below least[j]. work holds
 * gm_spectrum_work() doubles. */
size_t gm_spectrum_work(int d, int c);
int gm_spectrum(int d, int c, const double *root, const double *least, double *value,
                double *vector, double *work);

/* Makes n eigenvectors of d numbers unique, up to rounding. Eigenvalues (decreasing) within
 * `absolute`, or within `relative` of the largest of them, become their mean. Their vectors become
 * the one basis of their span whose entries at successive pivots are triangular and positive. A
 * single vector gets a positive largest entry. work holds d (n + 1) doubles. */
void gm_settle(int d, int n, double *value, double *vector, double absolute, double relative,
               double *work);

#endif
