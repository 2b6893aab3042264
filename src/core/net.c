/* Scrambled Sobol nets. Matousek's (1998) random linear scramble gives means the variance of Owen's
 * scramble, at the cost of a digital shift. */
#include "gm.h"
#include "stream.h"

void gm_net_fill(uint64_t key, const int *sobol, uint64_t *table, gm_net *net) {
  int m = net->columns;
  for (size_t r = 0; r < net->replicates; r++) {
    for (int c = 0; c < net->coordinates; c++) {
      uint64_t random = gm_stream(key, net->from + r, (uint64_t)c), image[64];
      *table++ = gm_splitmix(&random);
      /* bit b from the top of a column becomes itself followed by random bits */
      for (int b = 0; b < m; b++) {
        uint64_t top = 0x8000000000000000ULL >> b;
        image[b] = top | (gm_splitmix(&random) & (top - 1));
      }
      for (int k = 0; k < m; k++) {
        uint64_t column = 0;
        int bits = sobol[(size_t)c * (size_t)m + (size_t)k];
        for (int b = 0; b < m; b++) {
          if (bits >> (m - 1 - b) & 1) column ^= image[b];
        }
        *table++ = column;
      }
    }
  }
  net->table = table - net->replicates * (size_t)net->coordinates * (size_t)(1 + m);
}
