/* Strengths of guidance that depend on q = p(class | x), for a vector of particles. */
#ifndef GM_STRENGTH_OF_Q_H
#define GM_STRENGTH_OF_Q_H

#include "gm.h"
#include "product.h"
#include "vmath.h"

/* psi = eta(q) (1 - q) and its derivative by the log-odds of the class, from q and `rest` = 1 - q.
 * Both q and `rest` have all their digits. */
GM_INLINE void gm_push_at(const gm_push *push, vd odds, vd *psi, vd *slope) {
  const vd zero = vset(0), one = vset(1);
  vd f = vexp(-vabs(odds)), large = one / (one + f), small = f * large;
  vu likely = vless(zero, odds);
  vd q = vselect(likely, large, small), rest = vselect(likely, small, large);
  vd log_large = -vlog(one + f), log_q = vmin(odds, zero) + log_large;
  const double *p = push->p;
  switch (push->kind) {
    case GM_PUSH_FEEDBACK: {
      /* eta and its derivative by log q, where L = q / p(class) */
      vd lack = vset(1 - p[0]), L = vexp(vmin(log_q - vset(p[2]), vset(700))), eta, by_log;
      if (p[3] != 0) { /* the model's own ratio is pi L + 1 - pi */
        vd own = vset(p[0]) * L + lack, share = vset(p[1] * p[0]) * L / own;
        vu capped = vless(share, one);
        eta = vselect(capped, share - one, zero);
        by_log = vselect(capped, share * lack / own, zero);
      } else {
        vd over = L - lack;
        vu free = vless(lack, vset(p[1] - 1) * over);
        over = vselect(free, over, one);
        eta = vselect(free, lack / over, vset(p[1] - 1));
        by_log = vselect(free, -lack / over * (L / over), zero);
      }
      *psi = eta * rest;
      *slope = (by_log * rest - eta * q) * rest;
      break;
    }
    case GM_PUSH_AWAY:
      *psi = -(rest + vset(p[0]) * q);
      *slope = q * rest * vset(1 - p[0]);
      break;
    case GM_PUSH_POWER: {
      vd log_rest = vmin(-odds, zero) + log_large;
      *psi = vset(p[0]) * vexp(vset(p[1]) * log_q + vset(p[2] + 1) * log_rest);
      *slope = *psi * (vset(p[1]) * rest - vset(p[2] + 1) * q);
      break;
    }
    default: /* the other strengths are not computed here */
      *psi = *slope = zero;
  }
}

/* Rows of the log-densities of the models inside and outside become rows of their coefficients; a
 * third row gets the coefficient of the derivative by the log-odds. `factor`: of all coefficients;
 * `asked`: see layout.h. */
GM_INLINE void gm_push_rows(const gm_push *push, double factor, const double *asked, size_t apart,
                            size_t lanes, double *rows) {
  double *inside = rows, *outside = ROW(rows, 1), *by = ROW(rows, 2);
  for (size_t v = 0; v < lanes; v += GM_VL) {
    vd psi, slope;
    if (push->kind == GM_PUSH_GIVEN) {
      psi = LD(asked + v);
      slope = LD(asked + apart + v);
    } else {
      gm_push_at(push, LD(inside + v) - LD(outside + v) + vset(push->log_odds), &psi, &slope);
    }
    AT(inside + v) = vset(factor) * (vset(1) + vset(push->by) * psi);
    AT(outside + v) = vset(-factor * push->by) * psi;
    AT(by + v) = vset(factor * push->by) * slope;
  }
}

#endif
