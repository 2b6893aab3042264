/* Measures the best speed of one core with one instruction set, in lines of measurements.csv.
 * bench/run compiles it for each set, with -DGM_VL and the flags of that set, and passes the set's
 * name and the case that runs next to it. exp and normals are the package's own primitives, alone
 * and in the first-level cache. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rng.h"

enum { LANES = 64, ROWS = 32, N = LANES * ROWS, CHAINS = 12, REPEATS = 60 };

static double in[N], out[N];
static uint64_t state[4 * LANES];
static double *stream[3];
static const size_t stream_size = 1 << 23;
static volatile double one = 1, zero = 0;

static void fma_peak(void) {
  vd sum[CHAINS], x = vset(one), y = vset(zero);
#pragma GCC unroll 12
  for (int c = 0; c < CHAINS; c++) sum[c] = vset(c);
  for (int i = 0; i < 200000; i++) {
#pragma GCC unroll 12
    for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * x + y;
  }
#pragma GCC unroll 12
  for (int c = 0; c < CHAINS; c++) *(vd *)(out + c * GM_VL) = sum[c];
}

static void exps(void) {
  for (int r = 0; r < 200; r++) {
    for (int i = 0; i < N; i += GM_VL) *(vd *)(out + i) = vexp(*(vd *)(in + i));
  }
}

static void normals(void) {
  int has_spare = 0;
  for (int r = 0; r < 200; r++) gm_rng_normal(state, NULL, &has_spare, ROWS, LANES, out);
}

static void triad(void) {
  double *a = stream[0], *b = stream[1], *c = stream[2];
  for (size_t i = 0; i < stream_size; i += GM_VL) {
    *(vd *)(a + i) = *(vd *)(b + i) + vset(3) * *(vd *)(c + i);
  }
}

static int compare(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

/* The median CPU time of many calls, in ns. It is compared with a mean under the same neighbours.
 * */
static double median_time(void (*work)(void)) {
  double times[REPEATS];
  for (int r = 0; r < REPEATS; r++) {
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    work();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    times[r] = 1e9 * (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec);
  }
  qsort(times, REPEATS, sizeof *times, compare);
  return times[REPEATS / 2];
}

static char **argument;
static void print(const char *metric, double value, const char *unit) {
  printf("%s,machine,,1,%s,,,%s,%.5g,%s\n", argument[2], argument[1], metric, value, unit);
}

int main(int count, char **arguments) {
#if defined(__AVX512DQ__)
  if (!__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) return 3;
#elif defined(__AVX2__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 3;
#endif
  if (count != 3) return 2;
  argument = arguments;
  for (int i = 0; i < N; i++) in[i] = -20.0 * i / N;
  gm_rng_seed(1, 0, LANES, state);
  for (int s = 0; s < 3; s++) {
    stream[s] = malloc(stream_size * sizeof(double));
    if (!stream[s]) return 1;
    for (size_t i = 0; i < stream_size; i++) stream[s][i] = 1;
  }
  double flops = 2.0 * CHAINS * GM_VL * 200000;
  print("fma", flops / median_time(fma_peak), "GF/s");
  print("exp", median_time(exps) / (200.0 * N), "ns");
  print("normal", median_time(normals) / (200.0 * N), "ns");
  print("triad", 24.0 * (double)stream_size / median_time(triad), "GB/s");
  return 0;
}
