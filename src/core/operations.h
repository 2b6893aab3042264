/* The operations of step programs, a line each: their codes, the check of programs, their cost, the
 * interpreter's switch and what R knows of them all come from here. A new operation is a line and a
 * function gm_op_<name>() in engine.h; without either nothing compiles.
 *
 * GM_OP(CODE, name, to, from, at, n, when, frame, valid, matrix, cost)
 *
 * to .. n: what the fields of a gm_op are, see gm_field. `when`: with which derivative it may come.
 * `frame`: whether it does the same in turned coordinates (TURNS), or is about the given ones
 * (FIXED). `valid`: what else must hold, of the program p, the operation o and the dimension d.
 * `matrix`: doubles per particle in which it makes matrices. `cost`: rough flops per particle, of
 * the d, K and J of the job, what a score costs, and d^2 (square) and d^3 (cube) if the derivative
 * is carried along. No guard: it is included wherever a list is made. */
#ifndef GM_OP
#define GM_OP(...)
#endif

/* register to <- guided score of register from at level `at`; scalars from n on <- log p_j */
GM_OP(EVAL, eval, MAYBE, READ, LEVEL, LOGP, ALWAYS, TURNS,
      o->to >= 0 || (o->n >= 0 && p->derivative == GM_NONE), 0,
      score + 2 * cube + K * J * square + forming)
/* to <- standard normals; the `at`-th slice if the caller supplies the noise */
GM_OP(NOISE, noise, WRITE, NOTHING, NOISES, NOTHING, ALWAYS, TURNS, 1, 0, 20 * d)
/* to <- sum of the n terms from `at` on */
GM_OP(LINEAR, linear, WRITE, NOTHING, TERMS, COUNT, ALWAYS, TURNS, 1, 0, 4 * d + square)
/* scalar to += coef[n] + coef[n + 1] * <register from, register at> */
GM_OP(DOT, dot, SCALAR, READ, READ, COEF, ALWAYS, TURNS, o->n + 1 < p->n_coef, 0, 4 * d)
/* register to becomes the new state; coef[n] is its coefficient on the old state */
GM_OP(END, end, READ, NOTHING, ALIVE, COEF, ALWAYS, TURNS,
      p->derivative != GM_TRACE || p->coef[o->n] > 0, 0, 2 * cube + 20 * d)
/* output slice `at` <- register from */
GM_OP(SAVE, save, NOTHING, READ, OUTPUTS, NOTHING, ALWAYS, TURNS, 1, 0, 4 * d)
/* scalar `at` <- trace of the derivative of register from */
GM_OP(SAVE_DIVERGENCE, save_divergence, NOTHING, READ, SCALAR, NOTHING, WITH_TRACE, TURNS, 1, 0, 4)
/* jacobian output <- derivative of register from */
GM_OP(SAVE_JACOBIAN, save_jacobian, NOTHING, READ, NOTHING, NOTHING, WITH_TANGENT, TURNS, 1, 0,
      square)
/* derivatives are with respect to the present value of register to (the end of a step does this,
 * too) */
GM_OP(BEGIN, begin, READ, NOTHING, NOTHING, NOTHING, ALWAYS, TURNS, 1, 0, 4)
/* to <- coef[n] in every coordinate */
GM_OP(CONSTANT, constant, WRITE, NOTHING, NOTHING, COEF, ALWAYS, FIXED, 1, 0, 4 * d)
/* to <- |to|^coef[n] to */
GM_OP(POWER, power, CHANGE, NOTHING, NOTHING, COEF, PLAIN, TURNS, p->coef[o->n] >= -1, 0, 8 * d)
/* to <- A to + B from + C at, by the rule coef[n] with the coefficients after it (see rule.h). A
 * rule that remembers has no C; register at is its memory */
GM_OP(RULE, rule, CHANGE, READ, READ, COEF, PLAIN, TURNS,
      o->n + GM_RULE_SIZE <= p->n_coef && in((int)p->coef[o->n], GM_RULES), 0, 16 * d)
/* to <- M to, M the d x d coefficients from n on, column by column */
GM_OP(MATRIX, matrix, CHANGE, NOTHING, NOTHING, COEF, WITHOUT_TRACE, FIXED,
      o->n + d * d <= p->n_coef, d, 2 * d * d + 2 * cube)
/* to <- value of the caller's function number n at register from; no part of a run crosses it */
GM_OP(CALL, call, WRITE, READ, NOTHING, CALLS, PLAIN, FIXED, 1, 0, 4 * d)
/* to <- the sum of registers at, to and from, weighted by the caller's function number n of their
 * inner products */
GM_OP(MIX, mix, CHANGE, READ, READ, CALLS, PLAIN, TURNS, 1, 0, 8 * d)
/* the caller's function number n of the log-odds of the class, at register from and level `at`, is
 * the strength there from now on (GM_PUSH_GIVEN); no part of a run crosses it */
GM_OP(ASK, ask, NOTHING, READ, LEVEL, CALLS, ALWAYS, TURNS,
      p->level[o->at].push.kind == GM_PUSH_GIVEN, 0, score)

/* With the Jacobian Ds that the last evaluation took, of register from at level `at`: */

/* to <- (I + coef[n] Ds) to */
GM_OP(PRODUCT, product, CHANGE, POINT, LEVEL, COEF, PLAIN, TURNS, 1, 0, score)
/* the leading r = coef[n] coordinates: to <- (diag(c) + coef[n + 1] Ds)^-1 to, c = the r
 * coefficients from n + 2 on; for positive definite matrices */
GM_OP(SOLVE, solve, CHANGE, POINT, LEVEL, COEF, PLAIN, FIXED,
      p->coef[o->n] >= 1 && p->coef[o->n] <= d && o->n + 1 + (int)p->coef[o->n] < p->n_coef,
      p->coef[o->n] * p->coef[o->n], K * p->coef[o->n] * p->coef[o->n] + 8 * d)
/* to <- L to, L L' = (I + coef[n] Ds)_+, L lower triangular (root.h) */
GM_OP(ROOT, root, CHANGE, POINT, LEVEL, COEF, PLAIN, TURNS, d <= GM_MAX_ROOT,
      3. * d * d + 7. * d + 4, K * J * d * d + d * d * d)
