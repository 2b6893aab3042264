/* Normals: one xoshiro256++ state (Blackman and Vigna 2021) for each particle, seeded by splitmix64
 * from (key, particle) alone. The noise of a particle therefore does not depend on its block,
 * thread or machine. Box-Muller makes pairs of normals. */
#ifndef GM_RNG_H
#define GM_RNG_H

#include "stream.h"
#include "vmath.h"

/* States of `lanes` particles from number `first` on: 4 x lanes words. */
GM_INLINE void gm_rng_seed(uint64_t key, uint64_t first, size_t lanes, uint64_t *state) {
  for (size_t i = 0; i < lanes; i++) {
    uint64_t k = ~key, p = first + i; /* ~ keeps the seeds of (key, p) and (p, key) apart */
    uint64_t z = gm_splitmix(&k) ^ gm_splitmix(&p);
    for (int w = 0; w < 4; w++) state[w * lanes + i] = gm_splitmix(&z);
  }
}

GM_INLINE vu vrotl(vu x, int k) { return (x << k) | (x >> (64 - k)); }

typedef struct { vu a, b, c, d; } gm_xoshiro;

GM_INLINE vu vxoshiro(gm_xoshiro *s) {
  vu r = vrotl(s->a + s->d, 23) + s->a, t = s->b << 17;
  s->c ^= s->a;
  s->d ^= s->b;
  s->b ^= s->c;
  s->a ^= s->d;
  s->c ^= t;
  s->d = vrotl(s->d, 45);
  return r;
}

/* 52 random bits in [1, 2) */
GM_INLINE vd vuniform12(vu r) { return vd_of((r >> 12) | 0x3ff0000000000000ULL); }

GM_INLINE void vnormal_pair(gm_xoshiro *s, vd *z1, vd *z2) {
  vd u1 = vset(2.0) - vuniform12(vxoshiro(s)); /* (0, 1] */
  vd u2 = vuniform12(vxoshiro(s)) - vset(1.0); /* [0, 1) */
  vd radius = vsqrt(vset(-2.0) * vlog_normal(u1)), sine, cosine;
  vsincos2pi(u2, &sine, &cosine);
  *z1 = radius * cosine;
  *z2 = radius * sine;
}

/* `rows` rows of `lanes` normals. If the number of rows is odd, the last sine waits in `spare` for
 * the next call. One flag serves all lanes, because they run in step. */
GM_INLINE void gm_rng_normal(uint64_t *state, double *spare, int *has_spare, int rows, size_t lanes,
                             double *out) {
  int first = rows > 0 && *has_spare, pairs = (rows - first) / 2, odd = (rows - first) % 2;
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vu *word = (vu *)(state + v), *next = (vu *)(state + lanes + v);
    vu *third = (vu *)(state + 2 * lanes + v), *fourth = (vu *)(state + 3 * lanes + v);
    gm_xoshiro s = {*word, *next, *third, *fourth};
    double *row = out + v;
    if (first) {
      *(vd *)row = *(const vd *)(spare + v);
      row += lanes;
    }
    for (int p = 0; p < pairs; p++, row += 2 * lanes) {
      vnormal_pair(&s, (vd *)row, (vd *)(row + lanes));
    }
    if (odd) vnormal_pair(&s, (vd *)row, (vd *)(spare + v));
    *word = s.a;
    *next = s.b;
    *third = s.c;
    *fourth = s.d;
  }
  if (rows > 0) *has_spare = odd;
}

#endif
