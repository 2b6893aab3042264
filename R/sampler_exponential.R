#' Exponential-integrator samplers
#'
#' The score is frozen at its value at the start of the step. The remaining reverse ODE or SDE is
#' linear and is solved exactly.
#'
#' @details
#' From `t` to `t' < t`, with `g = int_t'^t a(t')/a(u) G^2(u)/2 du`,
#' * ODE: `x' = (a'/a) x + g s`;
#' * SDE: `x' = (a'/a) x + 2 g s + sqrt(v) z`, `v = (a'/a)^2 b^2 - b'^2`.
#'
#' For the Ornstein-Uhlenbeck process and a step `h` these are `a'/a = e^h`, `g = e^h - 1`,
#' `v = e^(2h) - 1`.
#'
#' **Order 2** (ODE only; two scores per step; also called ETD2RK, or Heun's method of exponential
#' integrators): the step above gives a first guess `y`, and the score is then taken to change
#' linearly in `log a`, from `s` to `s' = s_t'(y)`: `x' = y + g w (s' - s)` with
#' `w = 1/h - 1/(e^h - 1)`, `h = log(a'/a)`, so that `g w = (e^h - 1 - h)/h` for every
#' variance-preserving schedule. For the others `w` is the same function (1/2 where `a` is
#' constant), which keeps the order. The step takes the score at its end: for a mixture with point
#' masses the grid must stop at `end > 0`. As with [sampler_dpmpp_2m()] the log-density comes from
#' the Jacobian of the steps.
#'
#' @inheritParams sampler
#' @param order 1, or 2 for the ODE.
#' @param stochastic Solve the SDE instead of the ODE.
#' @return A [sampler()].
#' @source Zhang and Chen (2023), \doi{10.48550/arXiv.2204.13902}; for the SDE, Chen, Lee and Lu
#'   (2023), \doi{10.48550/arXiv.2211.01916}. Order 2: Cox and Matthews (2002),
#'   \doi{10.1006/jcph.2002.6995}, their ETD2RK (recalled, not verified against the paper); that `w`
#'   holds for every schedule is derived for this package.
#' @family samplers
#' @examples
#' sampler_exponential(steps = 100)
#' sampler_exponential(stochastic = TRUE)
#' sampler_exponential(steps = 50, order = 2)
#' @export
sampler_exponential <- function(steps = 200, grid = "quadratic", end = 0, order = 1,
                                stochastic = FALSE) {
  check_flag(stochastic, "stochastic")
  order <- check_count(order, "order", min = 1)
  if (order > if (stochastic) 1 else 2) {
    abort_input("order", if (stochastic) "1 for the SDE" else "1 or 2", order)
  }
  step <- function(k, times, schedule) {
    need_score(k, times, schedule, "an exponential integrator")
    const <- step_constants(k, times, schedule)
    gain <- reverse_gain(schedule, times[k], times[k + 1])
    evaluate <- op_eval("s", from = "x", t = times[k])
    if (order == 2) {
      correct <- gain * change_weight(log(const$ratio))
      return(list(evaluate,
                  op_linear("y", list(x = const$ratio, s = gain)),
                  op_eval("s2", from = "y", t = times[k + 1]),
                  op_linear("x", list(y = 1, s = -correct, s2 = correct))))
    }
    if (!stochastic) return(list(evaluate, op_linear("x", list(x = const$ratio, s = gain))))
    list(evaluate,
         op_noise("z"),
         op_linear("x", list(x = const$ratio, s = 2 * gain, z = const$ratio * sqrt(const$beta))))
  }
  kind <- if (stochastic) "SDE" else if (order == 2) "ODE, order 2" else "ODE"
  sampler("exponential", step, steps, grid, end, stochastic, divergence = !stochastic && order == 1,
          label = paste0("Exponential integrator (", kind, ")"), vectorised = TRUE)
}

# int_0^h e^(h - r) (r/h) dr / (e^h - 1): the share of a linear change of the score that enters a
# step. By its series if the difference would cancel.
change_weight <- function(h) ifelse(h < .02, 1 / 2 - h / 12 + h^3 / 720, 1 / h - 1 / expm1(h))
