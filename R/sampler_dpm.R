#' DPM-Solver samplers
#'
#' Solvers of the probability-flow ODE in `lambda = log(a/b)`, with the linear part solved exactly:
#' DPM-Solver-2, a single-step method in noise prediction of order 2 (two scores per step); and the
#' multistep methods of DPM-Solver++ in data prediction, 2M and 3M (one score per step), of second
#' order by the data predicted in the step before, of third order by those of two steps.
#'
#' @details
#' **DPM-Solver-2** is the midpoint method. Let `ehat = -b s` be the predicted noise,
#' `h = lambda' - lambda`, and `r` the time at which `lambda` is half-way. Then
#' `y = (a_r/a) x - b_r (e^(h/2) - 1) ehat(x, t)` and `x' = (a'/a) x - b' (e^h - 1) ehat(y, r)`.
#'
#' Two kinds of its steps are steps of [sampler_ddim()]. A last step to `t = 0` has an infinite `h`
#' and no middle, and uses the second score. A step from `a = 0`, or from an `a` so small that
#' rounding would hide the difference of the two predictions (`e^h > 1e15`), uses the first score.
#'
#' **2M.** With `q = h/(2 (previous h))` and the predicted data `D = (x + b^2 s)/a`,
#' `x' = (b'/b) x + a' (1 - e^(-h)) ((1 + q) D - q D_previous)`. The first step and a last step to
#' `t = 0` use `D` alone.
#'
#' **3M** integrates exactly the parabola in `lambda` through the last three values of `D`; its
#' second step is that of 2M. (The code that goes with the paper takes half of the parabola's
#' curvature, which leaves order 2.) The first two steps are of lower order, which matters little in
#' noise.
#'
#' The orders show on a `"logsnr"` grid that ends above 0. On other grids 2M is often better than
#' 3M. On a `"logsnr"` grid to `t = .003` the ends have these errors (root mean square per
#' coordinate, in units of the process), by the number of score evaluations:
#'
#' | | 8 | 12 | 20 | 40 |
#' |---|---|---|---|---|
#' | iris, 2M | .098 | .057 | .029 | .019 |
#' | iris, 3M | .072 | .021 | .0054 | .00096 |
#' | A2 in the plane, 2M | .032 | .024 | .010 | .0027 |
#' | A2 in the plane, 3M | .11 | .014 | .0014 | .000094 |
#'
#' [best_grid()] finds better times for a mixture, often with a fraction of these errors.
#'
#' The log-density comes from the Jacobian of the steps, because the divergence of the score would
#' give it to first order only.
#'
#' @inheritParams sampler
#' @return A [sampler()].
#' @source DPM-Solver-2: Lu, Zhou, Bao, Chen, Li and Zhu (2022), \doi{10.48550/arXiv.2206.00927},
#'   algorithm 1 with `r_1 = 1/2` (recalled, not verified against the paper; the order is measured
#'   in the tests). 2M: the same (2022), \doi{10.48550/arXiv.2211.01095}, algorithm 2; 3M: derived
#'   for this package, after theirs.
#' @family samplers
#' @examples
#' sampler_dpm_2(steps = 20, grid = "logsnr", end = .01)
#' sampler_dpmpp_2m(steps = 20, grid = "logsnr", end = .01)
#' sampler_dpmpp_3m(steps = 20, grid = "logsnr", end = .01)
#' @name sampler_dpm
NULL

#' @rdname sampler_dpm
#' @export
sampler_dpm_2 <- function(steps = 200, grid = "quadratic", end = 0) {
  step <- function(k, times, schedule) {
    const <- step_constants(k, times, schedule)
    late <- const$late
    middle <- logsnr_middle(times[k], times[k + 1], schedule)
    a <- schedule$a(middle)
    b2 <- schedule$b2(middle)
    # b_r (e^(h/2) - 1) b = (a_r/a) b^2 - b_r b
    to_y <- list(x = a / const$a, first = a / const$a * const$b2 - sqrt(b2 * const$b2))
    to_x <- list(x = const$ratio,
                 s = sqrt(b2) * (const$ratio * sqrt(const$b2) - sqrt(const$b2_next)))
    if (any(late)) {
      # Late steps use the denoised points D and D_r of both evaluations. With e = e^h - 1 and
      # c = b_r/b, y = c x + (a_r - a c) D and
      # x' = (b'/b) x + (a' - a b'/b) D + e (b'/b_r) a_r (D_r - D). Without a middle, D_r = D.
      shrink <- sqrt(b2 / const$b2)
      shrink_next <- sqrt(const$b2_next / const$b2)
      change <- a * (const$ratio * sqrt(const$b2) - sqrt(const$b2_next)) / sqrt(b2)
      change[!is.finite(change) | const$ratio * sqrt(const$b2) > 1e15 * sqrt(const$b2_next)] <- 0
      # the last step: D alone, at the same place
      change[middle == times[k]] <- 0
      to_y <- list(x = ifelse(late, shrink, to_y$x),
                   first = ifelse(late, a - const$a * shrink, to_y$first))
      to_x <- list(x = ifelse(late, shrink_next, to_x$x),
                   first = ifelse(late, const$a_next - const$a * shrink_next - change, 0),
                   s = ifelse(late, change, to_x$s))
    }
    list(op_eval("first", from = "x", t = times[k], want = const$want),
         op_linear("y", to_y),
         op_eval("s", from = "y", t = middle, want = const$want),
         op_linear("x", to_x))
  }
  sampler("dpm_2", step, steps, grid, end, divergence = FALSE, label = "DPM-Solver-2",
          vectorised = TRUE)
}

# The time half-way in log(a/b) between each t and its t' < t, or t itself if no such time exists
# (t' = 0, or a = 0 at t).
logsnr_middle <- function(t, t_next, schedule) {
  target <- (log_snr(t, schedule) + log_snr(t_next, schedule)) / 2
  ifelse(is.finite(target), logsnr_time(target, t_next, t, schedule), t)
}

#' @rdname sampler_dpm
#' @export
sampler_dpmpp_2m <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("dpmpp_2m", dpmpp_step(2), steps, grid, end, divergence = FALSE,
          label = "DPM-Solver++ (2M)")
}

#' @rdname sampler_dpm
#' @export
sampler_dpmpp_3m <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("dpmpp_3m", dpmpp_step(3), steps, grid, end, divergence = FALSE,
          label = "DPM-Solver++ (3M)")
}

# A step that uses the predictions of the `order` - 1 steps before it.
dpmpp_step <- function(order) {
  function(k, times, schedule) {
    const <- step_constants(k, times, schedule)
    # registers that take turns: they keep a prediction for the next steps
    current <- paste0("d", k %% order)
    seen <- min(order, k)
    if (const$b2_next == 0) seen <- 1
    t <- times[k + (1 - seen):1]
    # the coming step, then those before
    h <- rev(diff(log(schedule$a(t)) - log(schedule$b2(t)) / 2))
    weight <- switch(seen, 1, c(1, 0) + c(1, -1) * h[1] / (2 * h[2]), parabola_weights(h))
    data <- stats::setNames(weight, paste0("d", (k - seq_len(seen) + 1) %% order))
    shrink <- sqrt(const$b2_next / const$b2)
    # the next steps use this prediction
    last <- times[min(k + order, length(times))]
    late <- max(const$a_next, schedule$a(last)) > 1e3 * const$a
    # a' (1 - e^-h) = a' - a b'/b
    c(if (late) list(op_eval(current, from = "x", t = times[k], want = "denoised")) else {
      list(op_eval("s", from = "x", t = times[k]),
           op_linear(current, c(x = 1 / const$a, s = const$b2 / const$a)))
    }, list(op_linear("x", c(x = shrink, (const$a_next - const$a * shrink) * data))))
  }
}

# The mean, with weights e^u, over a step of length h[1] of the parabola through the last three
# values, as weights of these: the newest is at its beginning, the others h[2] and h[2] + h[3]
# before.
parabola_weights <- function(h) {
  whole <- -expm1(-h[1])
  first <- (1 - whole / h[1]) / whole
  second <- (1 - 2 * (1 - whole / h[1]) / h[1]) / whole
  r <- h[2:3] / h[1]
  # divided differences, in units of the step
  slope <- c(1, -1, 0) / r[1]
  before <- c(0, 1, -1) / r[2]
  bend <- (slope - before) / sum(r)
  c(1, 0, 0) + first * (slope + r[1] * bend) + second * bend
}
