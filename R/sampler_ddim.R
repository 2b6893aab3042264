#' DDIM sampler
#'
#' The denoising diffusion implicit model of Song, Meng and Ermon. With `x0hat = (x + b^2 s)/a` and
#' `ehat = -b s`, the data and the noise that the score predicts, `x' = a' x0hat + sqrt(b'^2 - v)
#' ehat + sqrt(v) z`, `v = eta^2 (b'^2/b^2) beta`, `beta = b^2 - (a/a')^2 b'^2`.
#'
#' @details With `eta = 0` it is deterministic, a first-order solver of the probability-flow ODE.
#' With `eta = 1` it is `sampler_ddpm(variance = "posterior")`.
#'
#' Where `a = 0` (see [sampler()]), `x' = a' x0hat + sqrt(b'^2 - v) x/b + sqrt(v) z`.
#'
#' @inheritParams sampler
#' @param eta From 0 (deterministic) to 1. This is DDIM's own parameter; it has nothing to do with
#'   the strength of the guidance, which many papers also call eta.
#' @return A [sampler()].
#' @source Song, Meng and Ermon (2021), \doi{10.48550/arXiv.2010.02502}, equations 12 and 16.
#' @family samplers
#' @examples
#' sampler_ddim(steps = 50)
#' # through the discrete times of a DDPM schedule
#' sampler_ddim(steps = NULL)
#' @export
sampler_ddim <- function(steps = 200, grid = "quadratic", end = 0, eta = 0) {
  eta <- check_number(eta, "eta", min = 0, max = 1)
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    v <- eta^2 * one$b2_next / one$b2 * one$beta
    coef <- list(x = one$ratio, s = one$ratio * one$b2 - sqrt((one$b2_next - v) * one$b2))
    if (any(one$late)) {
      shrink <- sqrt((one$b2_next - v) / one$b2)
      coef <- list(x = ifelse(one$late, shrink, coef$x),
                   s = ifelse(one$late, one$a_next - one$a * shrink, coef$s))
    }
    evaluate <- op_eval("s", from = "x", t = times[k], want = one$want)
    if (eta == 0) return(list(evaluate, op_linear("x", coef)))
    list(evaluate, op_noise("z"), op_linear("x", c(coef, list(z = sqrt(v)))))
  }
  sampler("ddim", step, steps, grid, end, stochastic = eta > 0, label = "DDIM",
          params = list(eta = eta), vectorised = TRUE)
}
