#' DPM-Solver-2 sampler
#'
#' The second-order single-step solver of the probability-flow ODE in noise prediction: the midpoint
#' method in `lambda = log(a/b)`, with the linear part solved exactly. Two scores per step.
#'
#' @details
#' Let `ehat = -b s` be the predicted noise, `h = lambda' - lambda`, and `r` the time at which
#' `lambda` is half-way. Then `y = (a_r/a) x - b_r (e^(h/2) - 1) ehat(x, t)` and
#' `x' = (a'/a) x - b' (e^h - 1) ehat(y, r)`.
#'
#' Two kinds of steps are steps of [sampler_ddim()]. A last step to `t = 0` has an infinite `h` and
#' no middle, and uses the second score. A step from `a = 0`, or from an `a` so small that rounding
#' would hide the difference of the two predictions (`e^h > 1e15`), uses the first score. Order 2
#' shows on a `"logsnr"` grid that ends above 0.
#'
#' As with [sampler_dpmpp_2m()] the log-density comes from the Jacobian of the steps.
#'
#' @inheritParams sampler
#' @return A [sampler()].
#' @source Lu, Zhou, Bao, Chen, Li and Zhu (2022), \doi{10.48550/arXiv.2206.00927}, algorithm 1 with
#'   `r_1 = 1/2` (recalled, not verified against the paper; the order is measured in the tests).
#' @seealso [sampler_dpmpp_2m()], of the same order with one score per step.
#' @family samplers
#' @examples
#' sampler_dpm_2(steps = 20, grid = "logsnr", end = .01)
#' @export
sampler_dpm_2 <- function(steps = 200, grid = "quadratic", end = 0) {
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    late <- one$late
    middle <- logsnr_middle(times[k], times[k + 1], schedule)
    a <- schedule$a(middle)
    b2 <- schedule$b2(middle)
    # b_r (e^(h/2) - 1) b = (a_r/a) b^2 - b_r b
    to_y <- list(x = a / one$a, first = a / one$a * one$b2 - sqrt(b2 * one$b2))
    to_x <- list(x = one$ratio, s = sqrt(b2) * (one$ratio * sqrt(one$b2) - sqrt(one$b2_next)))
    if (any(late)) {
      # Late steps use the denoised points D and D_r of both evaluations. With e = e^h - 1 and
      # c = b_r/b, y = c x + (a_r - a c) D and
      # x' = (b'/b) x + (a' - a b'/b) D + e (b'/b_r) a_r (D_r - D). Without a middle, D_r = D.
      shrink <- sqrt(b2 / one$b2)
      shrink_next <- sqrt(one$b2_next / one$b2)
      change <- a * (one$ratio * sqrt(one$b2) - sqrt(one$b2_next)) / sqrt(b2)
      change[!is.finite(change) | one$ratio * sqrt(one$b2) > 1e15 * sqrt(one$b2_next)] <- 0
      # the last step: D alone, at the same place
      change[middle == times[k]] <- 0
      to_y <- list(x = ifelse(late, shrink, to_y$x),
                   first = ifelse(late, a - one$a * shrink, to_y$first))
      to_x <- list(x = ifelse(late, shrink_next, to_x$x),
                   first = ifelse(late, one$a_next - one$a * shrink_next - change, 0),
                   s = ifelse(late, change, to_x$s))
    }
    list(op_eval("first", from = "x", t = times[k], want = one$want),
         op_linear("y", to_y),
         op_eval("s", from = "y", t = middle, want = one$want),
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
