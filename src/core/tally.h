/* Sums over particles, in their order and by one thread, so the bits do not depend on how the
 * particles were run. */
#ifndef GM_TALLY_H
#define GM_TALLY_H

#include <stddef.h>

/* Rows that are centred and multiplied at a time, to stay in cache. */
enum { GM_TALLY_ROWS = 256 };

/* The moments of m columns y = x - centre and, with `squares`, of y^2 after them: p columns v in
 * all (p = m or 2 m). Gives mean (p) and cross (p x p), the sum over rows of (v - mean)(v - mean)'.
 * x is n x m; work holds p (GM_TALLY_ROWS + 1) doubles. */
void gm_moments(const double *x, size_t n, size_t m, const double *centre, int squares,
                double *mean, double *cross, double *work);

/* Adds to count (bins + 2) the number of x below `low`, in each of the bins of equal width above
 * it, and beyond the bins (the last edge belongs to the last bin). Widens least and most to the
 * extremes. No x is NaN. */
void gm_histogram(const double *x, size_t n, double low, double width, size_t bins, double *count,
                  double *least, double *most);

#endif
