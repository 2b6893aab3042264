#' DPM-Solver++ samplers (2M, 3M)
#'
#' The multistep solvers of the probability-flow ODE in data prediction: one score per step, second
#' order by the data predicted in the step before, third order by those of two steps.
#'
#' @details
#' With `lambda = log(a/b)`, `h = lambda' - lambda`, `q = h/(2 (previous h))` and the predicted data
#' `D = (x + b^2 s)/a`: `x' = (b'/b) x + a' (1 - e^(-h)) ((1 + q) D - q D_previous)`. The first step
#' and a last step to `t = 0` (where `h` is infinite) use `D` alone. Order 2 shows on a `"logsnr"`
#' grid that ends above 0.
#'
#' 3M integrates exactly the parabola in `lambda` through the last three values of `D`; its second
#' step is that of 2M. (The code that goes with the paper takes half of the parabola's curvature,
#' which leaves order 2.) The first two steps are of lower order, which matters little in noise. On
#' other grids than `"logsnr"` 2M is often the better one. On a `"logsnr"` grid to `t = .003` the
#' ends have these errors (root mean square per coordinate, in units of the process), by the number
#' of score evaluations:
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
#' @source Lu, Zhou, Bao, Chen, Li and Zhu (2022), \doi{10.48550/arXiv.2211.01095}, algorithm 2; 3M:
#'   derived for this package, after theirs.
#' @family samplers
#' @examples
#' sampler_dpmpp_2m(steps = 20, grid = "logsnr", end = .01)
#' sampler_dpmpp_3m(steps = 20, grid = "logsnr", end = .01)
#' @export
sampler_dpmpp_2m <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("dpmpp_2m", dpmpp_step(2), steps, grid, end, divergence = FALSE,
          label = "DPM-Solver++ (2M)")
}

#' @rdname sampler_dpmpp_2m
#' @export
sampler_dpmpp_3m <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("dpmpp_3m", dpmpp_step(3), steps, grid, end, divergence = FALSE,
          label = "DPM-Solver++ (3M)")
}

# A step that uses the predictions of the `order` - 1 steps before it.
dpmpp_step <- function(order) {
  function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    # registers that take turns: they keep a prediction for the next steps
    current <- paste0("d", k %% order)
    seen <- min(order, k)
    if (one$b2_next == 0) seen <- 1
    t <- times[k + (1 - seen):1]
    # the coming step, then those before
    h <- rev(diff(log(schedule$a(t)) - log(schedule$b2(t)) / 2))
    weight <- switch(seen, 1, c(1, 0) + c(1, -1) * h[1] / (2 * h[2]), parabola_weights(h))
    data <- stats::setNames(weight, paste0("d", (k - seq_len(seen) + 1) %% order))
    shrink <- sqrt(one$b2_next / one$b2)
    # the next steps use this prediction
    last <- times[min(k + order, length(times))]
    late <- max(one$a_next, schedule$a(last)) > 1e3 * one$a
    # a' (1 - e^-h) = a' - a b'/b
    c(if (late) list(op_eval(current, from = "x", t = times[k], want = "denoised")) else {
      list(op_eval("s", from = "x", t = times[k]),
           op_linear(current, c(x = 1 / one$a, s = one$b2 / one$a)))
    }, list(op_linear("x", c(x = shrink, (one$a_next - one$a * shrink) * data))))
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
