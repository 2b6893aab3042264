#' DPM-Solver++ sampler (2M)
#'
#' The second-order multistep solver of the probability-flow ODE in data prediction: one score per
#' step, second order by remembering the data predicted in the step before.
#'
#' @details
#' With `lambda = log(a/b)`, `h = lambda' - lambda`, `q = h/(2 (previous h))` and the predicted data
#' `D = (x + b^2 s)/a`: `x' = (b'/b) x + a' (1 - e^(-h)) ((1 + q) D - q D_previous)`. The first step
#' and a last step to `t = 0` (where `h` is infinite) use `D` alone. Order 2 shows on a `"logsnr"`
#' grid that ends above 0.
#'
#' `a` may be 0 at the start (zero terminal signal-to-noise ratio): `h` is infinite there, and `D`
#' comes from the engine as such and not from the score (see [op_eval()]), as wherever `a` grows so
#' fast that digits would cancel.
#'
#' The divergence of the score would give the log-density to first order only, so that it comes from
#' the Jacobian of the steps.
#'
#' @inheritParams sampler
#' @return A [sampler()].
#' @source Lu, Zhou, Bao, Chen, Li and Zhu (2022), \doi{10.48550/arXiv.2211.01095}, algorithm 2.
#' @family samplers
#' @examples
#' sampler_dpmpp_2m(steps = 20, grid = "logsnr", end = .01)
#' @export
sampler_dpmpp_2m <- function(steps = 200, grid = "quadratic", end = 0) {
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    # two registers that take turns: what this step predicts the next one finds as `previous`
    current <- paste0("d", k %% 2)
    previous <- paste0("d", (k + 1) %% 2)
    data <- stats::setNames(1, current)
    if (k > 1 && one$b2_next > 0) {
      t <- times[k + -1:1]
      h <- diff(log(schedule$a(t)) - log(schedule$b2(t)) / 2)
      data <- stats::setNames(c(1, 0) + c(1, -1) * h[2] / (2 * h[1]), c(current, previous))
    }
    shrink <- sqrt(one$b2_next / one$b2)
    # the next step uses what this one predicts
    late <- max(one$a_next, schedule$a(times[min(k + 2, length(times))])) > 1e3 * one$a
    # a' (1 - e^-h) = a' - a b'/b
    c(if (late) list(op_eval(current, from = "x", t = times[k], want = "denoised")) else {
      list(op_eval("s", from = "x", t = times[k]),
           op_linear(current, c(x = 1 / one$a, s = one$b2 / one$a)))
    }, list(op_linear("x", c(x = shrink, (one$a_next - one$a * shrink) * data))))
  }
  sampler("dpmpp_2m", step, steps, grid, end, divergence = FALSE, label = "DPM-Solver++ (2M)")
}
