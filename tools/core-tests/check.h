/* A test program's whole harness: CHECK, CHECK_NEAR, and `return check_finish();` in main. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdio.h>

static long check_passed, check_failed;

/* `ok` is evaluated once; only the first failures are printed. */
#define CHECK_MESSAGE(ok, ...)                                   \
  do {                                                           \
    if (ok) {                                                    \
      check_passed++;                                            \
    } else {                                                     \
      if (++check_failed > 20) break;                            \
      printf("%s:%d: ", __FILE__, __LINE__);                     \
      printf(__VA_ARGS__);                                       \
      printf("\n");                                              \
    }                                                            \
  } while (0)

#define CHECK(condition) CHECK_MESSAGE(condition, "%s", #condition)

/* |got - want| <= tolerance * max(1, |want|); equal infinities agree, NaN agrees with nothing. */
#define CHECK_NEAR(got, want, tolerance)                                                       \
  do {                                                                                         \
    double got_ = (got), want_ = (want);                                                       \
    CHECK_MESSAGE(got_ == want_ || fabs(got_ - want_) <= (tolerance) * fmax(1, fabs(want_)),   \
                  "%s is %.17g, not %.17g", #got, got_, want_);                                \
  } while (0)

static inline int check_finish(void) {
  printf("%ld passed, %ld failed\n", check_passed, check_failed);
  return check_failed != 0 || check_passed == 0;
}

#endif
