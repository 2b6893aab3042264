#' Exponential-integrator samplers
#'
#' The score is frozen at its value at the start of the step; what is left of the reverse ODE or SDE
#' is linear and is solved exactly.
#'
#' @details
#' From `t` to `t' < t`, with `g = int_t'^t a(t')/a(u) G^2(u)/2 du`,
#' * ODE: `x' = (a'/a) x + g s`;
#' * SDE: `x' = (a'/a) x + 2 g s + sqrt(v) z`, `v = (a'/a)^2 b^2 - b'^2`.
#'
#' For the Ornstein-Uhlenbeck process and a step `h` these are `a'/a = e^h`, `g = e^h - 1`,
#' `v = e^(2h) - 1`.
#'
#' @inheritParams sampler
#' @param stochastic Solve the SDE instead of the ODE.
#' @return A [sampler()].
#' @source Zhang and Chen (2023), \doi{10.48550/arXiv.2204.13902}; for the SDE, Chen, Lee and Lu
#'   (2023), \doi{10.48550/arXiv.2211.01916}.
#' @family samplers
#' @examples
#' sampler_exponential(steps = 100)
#' sampler_exponential(stochastic = TRUE)
#' @export
sampler_exponential <- function(steps = 200, stochastic = FALSE, grid = "quadratic", end = 0) {
  check_flag(stochastic, "stochastic")
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    gain <- reverse_gain(schedule, times[k], times[k + 1])
    evaluate <- op_eval("s", from = "x", t = times[k])
    if (!stochastic) return(list(evaluate, op_linear("x", list(x = one$ratio, s = gain))))
    list(evaluate,
         op_noise("z"),
         op_linear("x", list(x = one$ratio, s = 2 * gain, z = one$ratio * sqrt(one$beta))))
  }
  sampler("exponential", step, steps, grid, end, stochastic,
          label = paste0("Exponential integrator (", if (stochastic) "SDE)" else "ODE)"),
          vectorised = TRUE)
}
