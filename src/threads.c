#include "threads.h"

#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <sys/types.h>
#include <unistd.h>
static pid_t home;
#endif

static int wanted = 2; /* CRAN: never more than two unless the user asks */

void mg_threads_init(void) {
#ifndef _WIN32
  home = getpid();
#endif
}

void mg_threads_set(int n) {
  if (n > 0) {
    wanted = n;
    return;
  }
#ifndef _WIN32
  home = 0; /* no process has this number */
#endif
}

#ifdef _OPENMP
/* The variable is read at each call: OpenMP reads it once, before R can set it. */
static int least(int n, const char *variable) {
  const char *value = getenv(variable);
  int limit = value ? atoi(value) : 0;
  return limit > 0 && limit < n ? limit : n;
}
#endif

int mg_threads(void) {
#ifdef _OPENMP
  int n = least(least(wanted < 256 ? wanted : 256, "OMP_THREAD_LIMIT"), "OMP_NUM_THREADS");
  if (n > omp_get_thread_limit()) n = omp_get_thread_limit();
#ifndef _WIN32
  /* a forked child (parallel::mclapply) would hang in the pool that libgomp inherits */
  if (getpid() != home) n = 1;
#endif
  return n < 1 ? 1 : n;
#else
  return 1;
#endif
}
