#' DDPM sampler
#'
#' Ancestral sampling as in Ho, Jain and Abbeel: `x' = (a'/a) (x + beta s) + sqrt(v) z` with
#' `beta = b^2 - (a/a')^2 b'^2`, which is the paper's `beta_t` on the whole times of
#' [schedule_ddpm()] and its natural extension to any schedule and grid.
#'
#' @details
#' The mean is the exact `E(x_t' | x_t)`. The variances are
#' * `"posterior"`: `v = beta b'^2/b^2`, exact if the data are a single point; no noise at a last
#'   step to `t = 0`;
#' * `"large"`: `v = beta`, exact if the data are standard normal;
#' * `"scaled"`: `v = (a'/a)^2 beta`, that of the exponential integrator of the reverse SDE, used in
#'   the analyses of Liang et al.
#'
#' The noise of the last step is kept, as in the analyses; some programs leave it out.
#'
#' @inheritParams sampler
#' @param variance One of `"posterior"`, `"large"`, `"scaled"`.
#' @return A [sampler()].
#' @source Ho, Jain and Abbeel (2020), \doi{10.48550/arXiv.2006.11239}, algorithm 2 and section 3.2.
#'   `"scaled"`: Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}.
#' @family samplers
#' @examples
#' sampler_ddpm(steps = 1000, variance = "large")
#' # one step for each discrete time of a DDPM schedule
#' sampler_ddpm(steps = NULL)
#' @export
sampler_ddpm <- function(steps = 200, variance = c("posterior", "large", "scaled"),
                         grid = "quadratic", end = 0) {
  variance <- check_choice(variance, eval(formals()$variance), "variance")
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    v <- one$beta * switch(variance,
                           posterior = one$b2_next / one$b2, large = 1, scaled = one$ratio^2)
    list(op_eval("s", from = "x", t = times[k]),
         op_noise("z"),
         op_linear("x", list(x = one$ratio, s = one$ratio * one$beta, z = sqrt(v))))
  }
  sampler("ddpm", step, steps, grid, end, stochastic = TRUE, label = "DDPM",
          params = list(variance = variance), vectorised = TRUE)
}
