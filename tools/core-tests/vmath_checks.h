/* The vector functions, against the C library's in long double, in units in the last place; and the
 * generators, against their authors' outputs and a plain version. For the GM_VL of the including
 * file. QUICK uses fewer points. */
#include <float.h>
#include <stdlib.h>

#include "check.h"

#if GM_VL == 1 || (GM_VL == 2 && defined(__GNUC__))
#define CPU_RUNS_IT 1
#elif GM_VL > 2 && defined(__GNUC__) && defined(__x86_64__) && !defined(_WIN32)
#define CPU_RUNS_IT \
  (GM_VL == 4 ? __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") \
              : __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && \
                    __builtin_cpu_supports("avx512vl"))
#if defined(__clang__) && GM_VL == 4
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#if GM_VL == 4
#pragma GCC target("avx2,fma")
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif
#endif
#endif

#ifdef CPU_RUNS_IT
#include "rng.h"

/* The promised errors, in units in the last place of the truth. */
#define EXP_ULP 2.0
#define LOG_ULP 2.0
#define SINCOS_ULP 2.0
#define ANGLE_ULP 2.0
#define NORMAL_ULP 4.0
#define QUANTILE_ULP 8.0

#ifdef QUICK
enum { POINTS = 1 << 13 };
#else
enum { POINTS = 1 << 18 };
#endif

/* Without an extended long double the truth itself has an error of half a unit. */
static const double slack = LDBL_MANT_DIG > DBL_MANT_DIG ? 0 : 0.5;

/* A plain splitmix64 and xoshiro256++, from the words of their papers. */
static uint64_t plain_splitmix(uint64_t *state) {
  uint64_t z = *state = *state + 11400714819323198485u; /* 2^64 over the golden ratio */
  z = (z ^ z >> 30) * 13787848793156543929u;
  z = (z ^ z >> 27) * 10723151780598845931u;
  return z ^ z >> 31;
}

static uint64_t rotated(uint64_t x, int k) { return x << k | x >> (64 - k); }

static uint64_t plain_xoshiro(uint64_t s[4]) {
  uint64_t a = s[0], b = s[1], c = s[2], e = s[3];
  s[0] = a ^ b ^ e;
  s[1] = a ^ b ^ c;
  s[2] = a ^ c ^ b << 17;
  s[3] = rotated(b ^ e, 45);
  return rotated(a + e, 23) + a;
}

static uint64_t source = 20260; /* over all random points */

static double random_double(void) { /* [0, 1) */
  return (double)(plain_splitmix(&source) >> 11) / 9007199254740992.0;
}

typedef void function(const double *x, double *y);
typedef long double reference(double x);

static void f_exp(const double *x, double *y) { *(vd *)y = vexp(*(const vd *)x); }
static void f_log(const double *x, double *y) { *(vd *)y = vlog(*(const vd *)x); }
static void f_sqrt(const double *x, double *y) { *(vd *)y = vsqrt(*(const vd *)x); }
static void f_quantile(const double *x, double *y) { *(vd *)y = vquantile(*(const vd *)x); }
static void f_sin(const double *x, double *y) {
  vd cosine;
  vsincos2pi(*(const vd *)x, (vd *)y, &cosine);
}
static void f_cos(const double *x, double *y) {
  vd sine;
  vsincos2pi(*(const vd *)x, &sine, (vd *)y);
}
/* of (x, 1) */
static void f_angle(const double *x, double *y) { *(vd *)y = vangle(vset(1), *(const vd *)x); }

/* sin and cos of 2 pi u; quarter turns are subtracted exactly */
static long double turned(double u, int quarters) {
  double k = floor(4 * u + 0.5);
  long double r = 6.283185307179586476925286766559L * (u - k / 4);
  quarters = (quarters + (int)k) % 4;
  return (quarters & 2 ? -1 : 1) * (quarters & 1 ? cosl(r) : sinl(r));
}
static long double true_exp(double x) { return expl(x); }
static long double true_angle(double x) { return atan2l(1, x); }
static long double true_log(double x) { return logl(x); }
static long double true_sqrt(double x) { return sqrtl(x); }
static long double true_sin(double u) { return turned(u, 0); }
static long double true_cos(double u) { return turned(u, 1); }

/* By bisection and Newton steps: on erf near the middle, on erfc in the lower tail. */
static long double true_quantile(double u) {
  const long double root_half = 0.70710678118654752440084436210485L;
  double q = fabs(u - 0.5), p = u < 0.5 ? u : 1 - u;
  long double low = 0, high = 10;
  for (int i = 0; i < 18; i++) {
    long double z = i < 12 ? (low + high) / 2 : low;
    long double off = p; /* no conditional expression: tcc 0.9.27 miscompiles it here */
    if (q < 0.25) off = erfl(z * root_half) / 2 - q;
    else off -= erfcl(z * root_half) / 2;
    if (i >= 12) low -= off / (expl(-z * z / 2) * 0.39894228040143267793994605993438L);
    else if (off < 0) low = z;
    else high = z;
  }
  return u < 0.5 ? -low : low;
}

/* One value in every lane. */
static double at(function *f, double x) {
  double in[GM_VL], out[GM_VL];
  for (int i = 0; i < GM_VL; i++) in[i] = x;
  f(in, out);
  return out[GM_VL - 1];
}

/* Distance in units in the last place of the truth, a normal number. */
static double ulps(double got, long double want) {
  int exponent;
  frexpl(want, &exponent);
  if (want == 0) return got == 0 ? 0 : INFINITY;
  double distance = (double)ldexpl(fabsl(got - want), DBL_MANT_DIG - exponent);
  return isnan(distance) ? INFINITY : distance;
}

/* The largest error over the points. A value must depend neither on its lane nor on the other
 * lanes. */
static double worst(function *f, reference *truth, double *x, int n) {
  double most = 0;
  int same = 1;
  for (; n % GM_VL; n--) continue;
  for (int i = 0; i < n; i += GM_VL) {
    double y[GM_VL], turned_x[GM_VL], turned_y[GM_VL];
    f(x + i, y);
    for (int l = 0; l < GM_VL; l++) turned_x[l] = x[i + (l + 1) % GM_VL];
    f(turned_x, turned_y);
    for (int l = 0; l < GM_VL; l++) {
      most = fmax(most, ulps(y[l], truth(x[i + l])));
      same = same && !memcmp(turned_y + l, y + (l + 1) % GM_VL, sizeof(double));
    }
  }
  CHECK(same);
  return most;
}

/* The doubles next to x, `reach` on either side, appended to the points. */
static int next_to(double x, int reach, double *points, int n) {
  double up = x, down = x;
  points[n++] = x;
  for (int i = 0; i < reach; i++) {
    points[n++] = up = nextafter(up, INFINITY);
    points[n++] = down = nextafter(down, -INFINITY);
  }
  return n;
}

static void check_exp(double *x) {
  int n = 0;
  for (int i = 0; i < POINTS; i++) x[n++] = -690 + 1399 * (i + 0.5) / POINTS;
  for (int i = 0; i < POINTS; i++) x[n++] = -690 + 1399 * random_double();
  for (int i = 0; i < POINTS; i++) x[n++] = (i % 2 ? 1 : -1) * exp2(-1070 * random_double());
  for (int k = -995; k < 1022; k++) n = next_to((k + 0.5) * 0.69314718055994531, 2, x, n);
  n = next_to(0, 8, x, n);
  x[n++] = 709;
  for (int i = 0; i < GM_VL; i++) x[n++] = -690;
  double most = worst(f_exp, true_exp, x, n);
  CHECK_MESSAGE(most < EXP_ULP + slack, "vexp is off by %.2f ulp", most);
  CHECK(at(f_exp, 0.0) == 1 && at(f_exp, -0.0) == 1);
  CHECK(at(f_exp, DBL_MIN) == 1 && at(f_exp, -4e-324) == 1);
  CHECK(at(f_exp, nextafter(-690, -INFINITY)) == 0);
  CHECK(at(f_exp, -745) == 0 && at(f_exp, -1e300) == 0 && at(f_exp, -INFINITY) == 0);
  CHECK(isnan(at(f_exp, NAN)));
  printf("VL %d: vexp %.3f", GM_VL, most);
}

static void check_log(double *x) {
  int n = 0;
  for (int i = 0; i < POINTS; i++) x[n++] = exp2(-1022 + 2046 * (i + 0.5) / POINTS);
  for (int i = 0; i < POINTS; i++) x[n++] = exp2(-1022 + 2046 * random_double());
  for (int i = 0; i < POINTS; i++) x[n++] = 0.4 + 2.1 * random_double();
  for (int i = 0; i < POINTS / 4; i++) x[n++] = 1 + (i % 2 ? 1 : -1) * exp2(-53 * random_double());
  n = next_to(1, 200, x, n);
  for (int k = -1021; k < 1023; k++) n = next_to(ldexp(0.70710678118654752, k), 2, x, n);
  for (int i = 0; i < GM_VL; i++) x[n++] = i % 2 ? DBL_MIN : DBL_MAX;
  double most = worst(f_log, true_log, x, n);
  CHECK_MESSAGE(most < LOG_ULP + slack, "vlog is off by %.2f ulp", most);
  CHECK(at(f_log, 1) == 0);
  CHECK(at(f_log, 0) == -INFINITY && at(f_log, 4e-324) == -INFINITY);
  CHECK(isnan(at(f_log, NAN)) && isnan(at(f_log, INFINITY)));
  printf(", vlog %.3f", most);
}

static void check_sincos(double *x) {
  int n = 0;
  for (int i = 0; i < POINTS; i++) x[n++] = (double)i / POINTS;
  for (int i = 0; i < POINTS; i++) x[n++] = random_double();
  for (int i = 0; i < POINTS / 4; i++) { /* near the zeros of sin and cos */
    double k = (double)(i % 4) / 4, off = exp2(-54 * random_double()) / 8;
    x[n++] = k == 0 || i & 4 ? k + off : k - off;
  }
  for (int k = 1; k < 8; k++) n = next_to(k / 8.0, 8, x, n);
  for (int i = 0; i < GM_VL; i++) x[n++] = 1 - DBL_EPSILON / (i % 2 ? 1 : 2);
  double most_sin = worst(f_sin, true_sin, x, n), most_cos = worst(f_cos, true_cos, x, n);
  CHECK_MESSAGE(most_sin < SINCOS_ULP + slack, "the sine is off by %.2f ulp", most_sin);
  CHECK_MESSAGE(most_cos < SINCOS_ULP + slack, "the cosine is off by %.2f ulp", most_cos);
  for (int k = 0; k < 4; k++) { /* quarter turns are exact */
    CHECK(at(f_sin, k / 4.0) == (k == 1) - (k == 3) && at(f_cos, k / 4.0) == (k == 0) - (k == 2));
  }
  printf(", sine %.3f, cosine %.3f", most_sin, most_cos);
}

static void check_angle(double *x) {
  int n = 0;
  for (int i = 0; i < POINTS / 2; i++) x[n++] = 4 * random_double() - 2;
  for (int i = 0; i < POINTS / 2; i++) {
    x[n++] = (i % 2 ? 1 : -1) * exp2(60 * (random_double() - 0.5));
  }
  double most = worst(f_angle, true_angle, x, n);
  CHECK_MESSAGE(most < ANGLE_ULP + slack, "the angle is off by %.2f ulp", most);
  /* multiples of the axes, and the zero vector */
  const double along[] = {3, 0, -3, 0}, up[] = {0, 1e-300, 0, 0}, pi = acos(-1);
  const double angle[] = {0, pi / 2, pi, 0};
  for (int k = 0; k < 4; k++) {
    vd y = vangle(vset(up[k]), vset(along[k]));
    CHECK(*(double *)&y == angle[k]);
  }
  printf(", angle %.3f", most);
}

/* The points of nets are odd multiples of 2^-53. */
static void check_quantile(double *x) {
  int n = 0;
  for (int i = 0; i < POINTS / 4; i++) x[n++] = ldexp(2 * floor(random_double() * 0x1p52) + 1, -53);
  for (int i = 0; i < POINTS / 4; i++) {
    double p = ldexp(2 * floor(exp2(52 * random_double())) - 1, -53);
    x[n++] = i % 2 ? p : 1 - p;
  }
  const double joint[] = {0.075, 0.925, 1.3887943864964021e-11};
  for (int k = 0; k < 3; k++) n = next_to(joint[k], 8, x, n);
  double most = worst(f_quantile, true_quantile, x, n);
  CHECK_MESSAGE(most < QUANTILE_ULP + slack, "the quantile is off by %.2f ulp", most);
  CHECK(at(f_quantile, 0.5) == 0);
  CHECK(at(f_quantile, 0x1p-53) == -at(f_quantile, 1 - 0x1p-53));
  printf(", quantile %.3f", most);
}

static void check_simd(double *x) {
  for (int i = 0; i < POINTS; i++) x[i] = exp2(-1022 + 2046 * random_double());
  CHECK(worst(f_sqrt, true_sqrt, x, POINTS) <= 0.5 + slack);
  CHECK(at(f_sqrt, 0) == 0 && at(f_sqrt, INFINITY) == INFINITY);
  double lane[GM_VL];
  vd least = vmin(vset(NAN), vset(1));
  memcpy(lane, &least, sizeof least);
  CHECK(isnan(lane[0]) && isnan(lane[GM_VL - 1]));
}

/* Each lane is the generator of its own state. */
static void check_generators(void) {
  /* xoshiro256++ from the state (1, 2, 3, 4); splitmix64 from 1234567 and from 0 */
  const uint64_t want[] = {41943041u, 58720359u, 3588806011781223u, 3591011842654386u,
                           9228616714210784205u, 9973669472204895162u, 14011001112246962877u,
                           12406186145184390807u, 15849039046786891736u, 10450023813501588000u};
  const uint64_t want_seed[2][5] = {
    {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u,
     16408922859458223821u},
    {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu, 0xf88bb8a8724c81ecu,
     0x1b39896a51a8749bu}};
  for (int k = 0; k < 2; k++) {
    uint64_t z = k ? 0 : 1234567, plain = z;
    for (int i = 0; i < 5; i++) {
      CHECK(gm_splitmix(&z) == want_seed[k][i] && plain_splitmix(&plain) == want_seed[k][i]);
    }
  }
  uint64_t plain[GM_VL][4], state[4][GM_VL], lane[GM_VL];
  for (int l = 0; l < GM_VL; l++) {
    for (int w = 0; w < 4; w++) {
      plain[l][w] = l ? plain_splitmix(&source) : (uint64_t)w + 1;
      state[w][l] = plain[l][w];
    }
  }
  gm_xoshiro s;
  memcpy(&s, state, sizeof s);
  for (int i = 0; i < 1000; i++) {
    vu r = vxoshiro(&s);
    memcpy(lane, &r, sizeof r);
    if (i < 10) CHECK(lane[0] == want[i]);
    for (int l = 0; l < GM_VL; l++) CHECK(lane[l] == plain_xoshiro(plain[l]));
  }
  memcpy(state, &s, sizeof s);
  for (int l = 0; l < GM_VL; l++) {
    for (int w = 0; w < 4; w++) CHECK(state[w][l] == plain[l][w]);
  }
  /* a particle's state depends on (key, number), not on the range in which it is seeded */
  enum { lanes = 16 };
  uint64_t a[4 * lanes], b[4 * lanes];
  const uint64_t first[] = {0, 100, (uint64_t)1 << 48, ~(uint64_t)0 - 8};
  for (int k = 0; k < 4; k++) {
    gm_rng_seed(7, first[k], lanes, a);
    gm_rng_seed(7, first[k] + 5, lanes, b);
    for (int w = 0; w < 4; w++) {
      for (int l = 5; l < lanes; l++) CHECK(a[w * lanes + l] == b[w * lanes + l - 5]);
    }
  }
}

/* Box and Muller's pairs from the top 52 bits, u1 in (0, 1] and u2 in [0, 1); the last two lanes
 * have u1 at its ends: the radius is 0 and 8.5 there. */
static void check_normals(void) {
  enum { lanes = 16, pairs = 500 };
  const uint64_t ends[2][4] = {{0, 12345, 678, 0}, {0, 12345, 678, ~(uint64_t)0}};
  uint64_t state[4 * lanes], plain[lanes][4];
  double spare[lanes], z[2 * pairs * lanes], most = 0;
  for (int i = 0; i < lanes; i++) {
    for (int w = 0; w < 4; w++) {
      plain[i][w] = i < lanes - 2 ? plain_splitmix(&source) : ends[i - (lanes - 2)][w];
      state[w * lanes + i] = plain[i][w];
    }
  }
  int has = 0;
  gm_rng_normal(state, spare, &has, 2 * pairs, lanes, z);
  double low = hypot(z[lanes - 2], z[2 * lanes - 2]), high = hypot(z[lanes - 1], z[2 * lanes - 1]);
  CHECK_MESSAGE(low == 0 && high > 8.49 && high < 8.491, "radii from %g to %g", low, high);
  for (int p = 0; p < pairs; p++) {
    for (int i = 0; i < lanes; i++) {
      double u1 = 1 - (double)(plain_xoshiro(plain[i]) >> 12) / 4503599627370496.0;
      double u2 = (double)(plain_xoshiro(plain[i]) >> 12) / 4503599627370496.0;
      long double radius = sqrtl(-2 * logl(u1));
      most = fmax(most, ulps(z[2 * p * lanes + i], radius * true_cos(u2)));
      most = fmax(most, ulps(z[(2 * p + 1) * lanes + i], radius * true_sin(u2)));
    }
  }
  CHECK_MESSAGE(most < NORMAL_ULP + slack, "a normal is off by %.2f ulp", most);
  printf(", normals %.3f ulp\n", most);
}

static void check_all(void) {
  double *x = malloc(sizeof(double) * (4 * POINTS + 12000));
  check_exp(x);
  check_log(x);
  check_sincos(x);
  check_angle(x);
  check_quantile(x);
  check_simd(x);
  free(x);
  check_generators();
  check_normals();
}

#if GM_VL > 2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#endif

int main(void) {
#ifdef CPU_RUNS_IT
  if (CPU_RUNS_IT) {
    check_all();
    return check_finish();
  }
#endif
  printf("left out, it cannot run here\n0 passed, 0 failed\n");
  return 0;
}
