#' Euler-Maruyama sampler of the reverse SDE
#'
#' The step `x' = x + h (-f x + G^2 s) + G sqrt(h) z` with everything evaluated at the start of the
#' step; `x + h (x + 2 s) + sqrt(2 h) z` for the Ornstein-Uhlenbeck process.
#'
#' @inheritParams sampler
#' @return A [sampler()].
#' @source Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021),
#'   \doi{10.48550/arXiv.2011.13456}, equation 6 (the SDE).
#' @family samplers
#' @examples
#' sampler_em(steps = 500)
#' @export
sampler_em <- function(steps = 200, grid = "quadratic", end = 0) {
  step <- function(k, times, schedule) {
    t <- times[k]
    need_score(k, times, schedule, "Euler-Maruyama")
    h <- t - times[k + 1]
    drift <- reverse_drift(schedule, t, stochastic = TRUE)
    list(op_eval("s", from = "x", t = t),
         op_noise("z"),
         op_linear("x", list(x = 1 + h * drift$x, s = h * drift$s,
                             z = sqrt(h * schedule$diffusion2(t)))))
  }
  sampler("em", step, steps, grid, end, stochastic = TRUE, label = "Euler-Maruyama (SDE)",
          vectorised = TRUE)
}
