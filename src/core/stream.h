/* Keys from keys: every use of random numbers under one key has a stream of its own. */
#ifndef GM_STREAM_H
#define GM_STREAM_H

#include <stdint.h>

/* A bijection (Steele, Lea and Flood 2014) of the value that *z has after the call. */
static inline uint64_t gm_splitmix(uint64_t *z) {
  uint64_t x = (*z += 0x9e3779b97f4a7c15ULL);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/* The i-th stream (i < 2^48) of a purpose (below 2^16) under a key. Each step is a bijection, so
 * all streams of one key differ, and so do the streams of two keys for one purpose and i. */
static inline uint64_t gm_stream(uint64_t key, uint64_t purpose, uint64_t i) {
  uint64_t z = key;
  z = gm_splitmix(&z) ^ (purpose << 48 | i);
  return gm_splitmix(&z);
}

#endif
