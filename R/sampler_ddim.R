#' DDIM and DDPM samplers
#'
#' Ancestral sampling as in Ho, Jain and Abbeel (DDPM), and the denoising diffusion implicit model
#' of Song, Meng and Ermon (DDIM), whose steps may be deterministic. Let `beta = b^2 - (a/a')^2
#' b'^2`, which is the former's `beta_t` on the whole times of [schedule_ddpm()] and its natural
#' extension to any schedule and grid.
#'
#' @details **DDIM.** With `x0hat = (x + b^2 s)/a` and `ehat = -b s`, the data and the noise that
#'   the score predicts, `x' = a' x0hat + sqrt(b'^2 - v) ehat + sqrt(v) z`, `v = eta^2 (b'^2/b^2)
#'   beta`. With `eta = 0` it is deterministic, a first-order solver of the probability-flow ODE.
#'   With `eta = 1` it is DDPM with the variance `"posterior"`. Where `a = 0` (see [sampler()]),
#'   `ehat` is `x/b`.
#'
#' **DDPM.** `x' = (a'/a) (x + beta s) + sqrt(v) z`. The mean is the exact `E(x_t' | x_t)`. The
#' variances are
#' * `"posterior"`: `v = beta b'^2/b^2`, exact if the data are a single point; no noise at a last
#'   step to `t = 0`;
#' * `"large"`: `v = beta`, exact if the data are standard normal;
#' * `"scaled"`: `v = (a'/a)^2 beta`, that of the exponential integrator of the reverse SDE, used in
#'   the analyses of Liang et al.;
#' * `"matched"`: not a number but the exact conditional covariance of `x_t'` given `x_t = x`,
#'   `(a'/a)^2 beta (I + beta Ds_t(x))`, with the derivative `Ds` of the score. Mean and covariance
#'   of every step are then exact, so a single Gaussian is reproduced by any number of steps, and
#'   the order is 2 instead of 1 for the others (observed, not proved);
#' * `"accelerated"`: the noise of `"scaled"` times `I + (beta/2) Ds_t(x)`, the first two terms of
#'   the root of the matched covariance, with a product in place of the root: the accelerated
#'   sampler of Liang et al., who prove that it is of second order.
#'
#' Mean and `"matched"` covariance are Tweedie's formulas for `x_t = (a/a') x_t' + sqrt(beta) z`.
#' Under guidance `Ds` is that of the guided score, and this covariance is only formal. Negative
#' eigenvalues count as 0, and a run says so (`clipped` in [guided_sample()]). Each particle and
#' step takes a root of a d x d matrix, by Cholesky's factorisation, so that a step of 3 components
#' costs some 2.5, 5 and 9 times one of the other variances in 4, 16 and 32 dimensions, and up to 25
#' times where eigenvalues are negative. d is at most 32, after reductions, and guidance may have no
#' power.
#'
#' `"accelerated"` is the same to order `beta^2`, in any dimension. If `beta` times an eigenvalue of
#' `Ds` is below -2, its steps are too long, and the noise has the other sign. A run counts the
#' particles whose noise a step turns against itself (`reversed` in [guided_sample()]).
#'
#' The noise of the last step is kept, as in the analyses; some programs leave it out.
#'
#' In steps that take the denoised point `x0hat` (see [sampler()]) the mean is
#' `(a/a')(b'^2/b^2) x + (a' beta/b^2) x0hat`. Where `a = 0`, all variances but `"posterior"` and
#' `"large"` are infinite.
#'
#' @inheritParams sampler
#' @param eta From 0 (deterministic) to 1. This is DDIM's own parameter; it has nothing to do with
#'   the strength of the guidance, which many papers also call eta.
#' @param variance One of `"posterior"`, `"large"`, `"scaled"`, `"matched"`, `"accelerated"`.
#' @return A [sampler()].
#' @source DDIM: Song, Meng and Ermon (2021), \doi{10.48550/arXiv.2010.02502}, equations 12 and 16.
#'   DDPM: Ho, Jain and Abbeel (2020), \doi{10.48550/arXiv.2006.11239}, algorithm 2 and section 3.2.
#'   `"scaled"`: Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746};
#'   `"accelerated"`: Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2402.13901}.
#'   `"matched"` for every schedule is derived for this package.
#' @family samplers
#' @examples
#' sampler_ddim(steps = 50)
#' sampler_ddpm(steps = 1000, variance = "large")
#' # one step for each discrete time of a DDPM schedule
#' sampler_ddpm(steps = NULL)
#' # one Gaussian: what is left is the error of the start
#' guided_moments(gaussmix(1, 1.5, .25), sampler = sampler_ddpm(3, variance = "matched"))
#' @export
sampler_ddim <- function(steps = 200, grid = "quadratic", end = 0, eta = 0) {
  eta <- check_number(eta, "eta", min = 0, max = 1)
  step <- function(k, times, schedule) {
    const <- step_constants(k, times, schedule)
    v <- eta^2 * const$b2_next / const$b2 * const$beta
    coef <- list(x = const$ratio, s = const$ratio * const$b2 - sqrt((const$b2_next - v) * const$b2))
    if (any(const$late)) {
      shrink <- sqrt((const$b2_next - v) / const$b2)
      coef <- list(x = ifelse(const$late, shrink, coef$x),
                   s = ifelse(const$late, const$a_next - const$a * shrink, coef$s))
    }
    evaluate <- op_eval("s", from = "x", t = times[k], want = const$want)
    if (eta == 0) return(list(evaluate, op_linear("x", coef)))
    list(evaluate, op_noise("z"), op_linear("x", c(coef, list(z = sqrt(v)))))
  }
  sampler("ddim", step, steps, grid, end, stochastic = eta > 0, label = "DDIM",
          params = list(eta = eta), vectorised = TRUE)
}
