/* Normals from scrambled nets. Every interval of 2^-m has one of the 2^m points of a replicate,
 * whatever the lanes, the engine and the range of particles. Normals beyond the net's coordinates
 * are independent. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gm.h"

enum { M = 6, PER = 1 << M, N = 4 * PER, COORDINATES = 2, ROWS = 3 };

/* Two normals from coordinates 1 and 0, and one independent normal, of the particles from number
 * `first` on. */
static void draw(const char *isa, size_t first, size_t n, size_t lanes, double *out) {
  /* van der Corput's sequence, and Sobol's second coordinate, whose matrix is Pascal's mod 2 */
  int sobol[COORDINATES * M];
  for (int k = 0; k < M; k++) {
    int number = 0;
    for (int i = 0; i <= k; i++) {
      if ((k & i) == i) number |= 1 << (M - 1 - i);
    }
    sobol[k] = 1 << (M - 1 - k);
    sobol[M + k] = number;
  }
  gm_net net = {.per = PER, .from = first / PER, .columns = M, .coordinates = COORDINATES};
  net.replicates = (first + n - 1) / PER - net.from + 1;
  uint64_t *table = malloc(net.replicates * COORDINATES * (1 + M) * sizeof *table);
  gm_net_fill(77, sobol, table, &net);
  const int at[ROWS] = {1, 0, -1};
  double zero[ROWS] = {0}, one = 1, log_weight = 0, models_of[16], *scalar[GM_OWN_SCALARS] = {NULL};
  gm_op op[] = {{.code = GM_NOISE}, {.code = GM_SAVE}};
  gm_pool pool = {.K = 1, .d = ROWS, .common = 1, .mean = zero, .value = zero};
  gm_models models;
  CHECK(gm_models_size(1, 1) <= 16);
  CHECK(gm_models_fill(1, 1, &log_weight, &models, models_of) == GM_OK);
  gm_program program = {.n_op = 2, .n_register = 1, .n_scalar = GM_OWN_SCALARS, .n_output = 1,
                        .n_noise = 1, .op = op, .coef = &one};
  CHECK(gm_program_scan(&program, &pool, &models) == GM_OK);
  gm_job job = {.pool = &pool, .models = &models, .program = &program, .n = n, .lanes = lanes,
                .key = 5, .first = first, .points = {&net, at}, .output = out, .scalar = scalar};
  size_t size = gm_work_size(&job);
  double *work = malloc(size * sizeof(double));
  gm_run(gm_engine_choose(isa)->run, &job, 0, (n + lanes - 1) / lanes, 0, 2, 1, 0, work, size);
  free(work);
  free(table);
}

static int cell(double z) { return (int)floor(PER * 0.5 * erfc(-z * 0.70710678118654752)); }

int main(void) {
  static double all[N * ROWS], part[N * ROWS];
  const char *isa[] = {"portable", "avx2", NULL};
  for (int e = 0; e < 3; e++) {
    draw(isa[e], 0, N, 64, all);
    for (int j = 0; j < 2; j++) {
      for (int r = 0; r < N / PER; r++) {
        int seen[PER] = {0};
        for (int i = 0; i < PER; i++) seen[cell(all[r * PER + i + N * j])]++;
        for (int c = 0; c < PER; c++) CHECK(seen[c] == 1);
      }
      CHECK(memcmp(all + N * j, all + N * j + PER, PER * sizeof(double)));
    }
    /* boxes of sides 2^-k and 2^(k - m) */
    for (int k = 0; k <= M; k++) {
      int seen[PER] = {0};
      for (int i = 0; i < PER; i++) {
        seen[(cell(all[i]) >> (M - k)) << (M - k) | cell(all[i + N]) >> k]++;
      }
      for (int c = 0; c < PER; c++) CHECK(seen[c] == 1);
    }
    int most = 0, count[PER] = {0};
    for (int i = 0; i < PER; i++) {
      int c = ++count[cell(all[i + 2 * N])];
      most = c > most ? c : most;
    }
    CHECK(most > 1);
    const size_t first[] = {0, 7, PER, 2 * PER + 1}, lanes[] = {8, 24, 128, 512};
    for (int k = 0; k < 4; k++) {
      size_t n = N - first[k];
      draw(isa[e], first[k], n, lanes[k], part);
      for (int j = 0; j < ROWS; j++) {
        CHECK(!memcmp(part + n * (size_t)j, all + first[k] + N * (size_t)j, n * sizeof(double)));
      }
    }
  }
  return check_finish();
}
