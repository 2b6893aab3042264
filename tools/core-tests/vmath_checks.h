/* The vector functions against the C library, and the generators against published outputs; for
 * the GM_VL of the including file. */
#include "check.h"
#include "rng.h"

static double first_lane(vd x) {
  double lane[GM_VL];
  memcpy(lane, &x, sizeof x);
  return lane[0];
}

static void check_exp(void) {
  double worst = 0;
  for (double x = -689.9; x < 709; x += 0.0373) {
    double want = exp(x);
    worst = fmax(worst, fabs(first_lane(vexp(vset(x))) / want - 1));
  }
  CHECK_MESSAGE(worst < 4.5e-16, "relative error of vexp %g", worst);
  CHECK(first_lane(vexp(vset(0))) == 1);
  CHECK(first_lane(vexp(vset(-691))) == 0);
  CHECK(first_lane(vexp(vset(-1e300))) == 0);
  CHECK(first_lane(vexp(vset(-INFINITY))) == 0);
}

static void check_log(void) {
  double worst = 0;
  for (double e = -307; e < 308; e += 0.01737) {
    double x = pow(10, e), want = log(x);
    worst = fmax(worst, fabs(first_lane(vlog(vset(x))) - want) / fmax(fabs(want), 1e-300));
  }
  for (double x = 0.4; x < 2.5; x += 1.37e-4) {
    double want = log(x);
    worst = fmax(worst, fabs(first_lane(vlog(vset(x))) - want) / fmax(fabs(want), 1e-300));
  }
  CHECK_MESSAGE(worst < 4.5e-16, "relative error of vlog %g", worst);
  CHECK(first_lane(vlog(vset(1))) == 0);
  CHECK(first_lane(vlog(vset(0))) == -INFINITY);
  CHECK(isnan(first_lane(vlog(vset(NAN)))) && isnan(first_lane(vexp(vset(NAN)))));
}

static void check_sincos(void) {
  const double two_pi = 6.283185307179586477;
  double worst = 0, s, c;
  for (double u = 0; u < 1; u += 1.0 / 4096 - 1e-9) {
    vd sine, cosine;
    vsincos2pi(vset(u), &sine, &cosine);
    s = first_lane(sine);
    c = first_lane(cosine);
    worst = fmax(worst, fmax(fabs(s - sin(two_pi * u)), fabs(c - cos(two_pi * u))));
    worst = fmax(worst, fabs(s * s + c * c - 1));
  }
  /* the rounding of two_pi * u itself, up to 6e-16 in the reference, dominates */
  CHECK_MESSAGE(worst < 1e-15, "error of vsincos2pi %g", worst);
}

/* xoshiro256++ from the state (1, 2, 3, 4), and splitmix64 from 1234567: the authors' outputs. */
static void check_generators(void) {
  const uint64_t want[] = {41943041u, 58720359u, 3588806011781223u, 3591011842654386u,
                           9228616714210784205u, 9973669472204895162u, 14011001112246962877u,
                           12406186145184390807u, 15849039046786891736u, 10450023813501588000u};
  const uint64_t want_seed[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                4593380528125082431u, 16408922859458223821u};
  uint64_t state[4 * GM_VL], lane[GM_VL], z = 1234567;
  vu s[4];
  for (int w = 0; w < 4; w++) {
    for (int i = 0; i < GM_VL; i++) state[w * GM_VL + i] = (uint64_t)w + 1;
    memcpy(&s[w], state + w * GM_VL, sizeof s[w]);
  }
  for (int i = 0; i < 10; i++) {
    vu r = vxoshiro(s);
    memcpy(lane, &r, sizeof r);
    CHECK(lane[0] == want[i] && lane[GM_VL - 1] == want[i]);
  }
  for (int i = 0; i < 5; i++) CHECK(gm_splitmix(&z) == want_seed[i]);
}

/* A particle's normals depend on (key, number) alone, and the spare of an odd row is used. */
static void check_normals(void) {
  enum { lanes = 16 };
  uint64_t a[4 * lanes], b[4 * lanes];
  double spare[lanes], one[6 * lanes], two[6 * lanes], mean = 0, square = 0;
  int has = 0;
  gm_rng_seed(7, 100, lanes, a);
  gm_rng_seed(7, 108, lanes, b);
  for (int w = 0; w < 4; w++) CHECK(a[w * lanes + 8] == b[w * lanes]);
  gm_rng_seed(7, 100, lanes, b);
  gm_rng_normal(a, spare, &has, 6, lanes, one);
  CHECK(!has);
  gm_rng_normal(b, spare, &has, 3, lanes, two);
  CHECK(has);
  gm_rng_normal(b, spare, &has, 3, lanes, two + 3 * lanes);
  CHECK(!has && !memcmp(one, two, sizeof one));
  gm_rng_seed(11, 0, lanes, a);
  for (int i = 0; i < 20000; i++) {
    gm_rng_normal(a, spare, &has, 2, lanes, one);
    for (int j = 0; j < 2 * lanes; j++) {
      mean += one[j];
      square += one[j] * one[j];
    }
  }
  /* 640000 draws, 5 standard errors */
  CHECK(fabs(mean / 640000) < 5 / 800.0);
  CHECK(fabs(square / 640000 - 1) < 5 * 1.4142 / 800.0);
}

int main(void) {
  check_exp();
  check_log();
  check_sincos();
  check_generators();
  check_normals();
  return check_finish();
}
