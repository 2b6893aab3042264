#' When a class between two others splits
#'
#' The aligned example: three components of unit variance at `-m`, 0, `m`, the outer two of equal
#' weight, guided to the one in the middle. In continuous time guidance draws everything to it.
#' Steps that are too long for the strength overshoot: the centre repels, and the sample ends in two
#' clusters on the wrong sides. `split_threshold()` gives the strength times step from which this
#' happens.
#'
#' @details Ornstein-Uhlenbeck clock, uniform Euler steps of length `step`; `rho` is the weight of
#' the two outer components together over that of the middle one. With `b = a^2 m^2` (`a = exp(-t)`)
#' and `kappa = rho exp(-b/2)` guidance is `-F(x)` per unit of strength, `F = a m kappa sinh(a m
#' x)/(1 + kappa cosh(a m x))`, with slope `f(b) = b kappa/(1 + kappa)` at the centre, which is a
#' fixed point of every step. The largest slope is `2 kappa*`, `kappa* = W0(rho/e)` (Lambert's
#' function), at `b* = 2 (1 + kappa*)`, or, for `m^2 < b*`, that at `b = m^2`. The centre repels
#' (proofs: `vignette("strong-guidance")`)
#' * in a DDIM, [sampler_euler()], if `strength step > 1/kappa*`. The sample splits later: particles
#'   first move to the centre before it repels, and the sum over the steps decides;
#' * in a DDPM, [sampler_em()], if `strength step > (1 - step/2)/(2 kappa*)`. Noise takes particles
#'   off the centre at once, so that the sample splits close to this threshold.
#'
#' **The sum over the steps.** With `strength` the column `lyapunov` has the sum of `log|slope|` at
#' the centre over the steps of `sampler`: the logarithm of the factor by which the run moves
#' points near the centre away from it. A sample without noise splits if the sum is positive, or a
#' little earlier, because the tails go first. With a step `x' = alpha x + beta s + sigma z`,
#' variance `v = a^2 + b^2` of a component at the time of the step and `kappa = rho exp(-a^2 m^2/(2
#' v))` the slope is `alpha - beta/v (1 + strength (a^2 m^2/v) kappa/(1 + kappa))`. In a run near
#' the threshold particles come closer to the centre than numbers can resolve (1e-22), and rounding
#' decides their fate.
#'
#' **A guarantee.** Let `S` be the supremum of `F/x` over all `x` and `b <= m^2`. If `strength step
#' <= 2/S`, no DDIM step takes a particle further away from the centre, and the confidence of every
#' particle is at least that without guidance. Beyond, two-cycles far from the centre exist.
#'
#' @section Numerical notes: `kappa` solves `kappa + log(kappa) = log(rho) - 1` by Newton's method,
#'   to rounding. `global` is found by maximisation, to about eight digits; for `m = Inf` it is the
#'   limit, where `S` is the larger of 2 and `2 kappa*`.
#'
#' @param rho Weight of both outer components together over that of the middle one, positive.
#' @param m Distance of the outer means from the middle, in standard deviations of a component.
#' @param step Length of the steps of the thresholds `ddim` and `ddpm`, below 2.
#' @param strength Strengths for the sum over the steps (which needs a finite `m`); `NULL`: no sum.
#'   `rho`, `m`, `step` and `strength` may be vectors, of one length or of length 1.
#' @param sampler,schedule,horizon The process of the sum over the steps: a sampler whose steps take
#'   one score, at their start, its forward process, and the time at which it starts.
#' @return A data frame of class `split_threshold` with the columns `rho`, `m`, `step`, and
#'   `strength` if it is given; `kappa` and `b`, at which the slope is greatest (`kappa*` and `b*`
#'   unless `m^2 < b*`); and the thresholds of `strength * step`: `ddim` and `ddpm`, above which the
#'   centre repels at some time, and `global`, up to which no DDIM step leads outward. Divided by
#'   `step` they are strengths. With `strength` also `lyapunov`, the sum over the steps.
#' @source The example is that of Wu, Chen, Li, Wang and Wei (2024),
#'   \doi{10.48550/arXiv.2403.01639}; the thresholds are derived for this package.
#' @seealso [strength_limit()] for any mixture and sampler; a picture: the plot of a `variable` of a
#'   [guidance_sweep()].
#' @examples
#' split_threshold(rho = c(.5, 2, 8), m = 3)
#' # 50 steps from t = 5: a DDPM should split from strength 10.3 on
#' threshold <- split_threshold(2, m = 3, step = .1)
#' threshold$ddpm / threshold$step
#' # a DDIM splits between 100 and 150, long after the centre began to repel, at 43
#' split_threshold(2, m = 3, strength = c(43, 100, 150), sampler = sampler_euler(100, "uniform"),
#'                 horizon = 5)$lyapunov
#' @export
split_threshold <- function(rho, m = Inf, step = 0, strength = NULL, sampler = sampler_ddim(),
                            schedule = schedule_ou(), horizon = NULL) {
  rho <- check_positive(rho, "rho")
  m <- check_positive(m, "m", finite = FALSE)
  step <- check_positive(step, "step", open = FALSE)
  if (any(step >= 2)) abort_input("step", "below 2", format(max(step)))
  check_sampler(sampler)
  check_schedule(schedule)
  given <- list(rho = rho, m = m, step = step)
  if (!is.null(strength)) {
    given$strength <- check_strengths(strength)
    if (any(is.infinite(m))) abort_input("m", "finite where there is a strength", describe(m))
  }
  size <- lengths(given)
  odd <- size[!size %in% c(1, max(size))]
  if (length(odd)) {
    abort_input(names(odd)[1], paste("of length 1 or", max(size)), paste("length", odd[1]))
  }
  rows <- do.call(data.frame, given)
  peak <- lambert_w(log(rows$rho) - 1)
  b <- pmin(2 * (1 + peak), rows$m^2)
  rows$kappa <- rows$rho * exp(-b / 2)
  rows$b <- b
  slope <- b * rows$kappa / (1 + rows$kappa)
  rows$ddim <- 2 / slope
  rows$ddpm <- (1 - rows$step / 2) / slope
  rows$global <- 2 / mapply(steepest_secant, rows$rho, rows$m)
  if (!is.null(strength)) {
    rows$lyapunov <- lyapunov_sums(rows, sampler, sampler_times(sampler, schedule, horizon),
                                   schedule)
  }
  new_table(rows, "split_threshold",
            c(paste("strength x step from which the centre repels: ddim, ddpm; up to which no DDIM",
                    "step leads outward: global; kappa, b: where the slope at the centre is",
                    "greatest"),
              if (!is.null(strength)) {
                paste("log of the growth of what is near the centre: lyapunov, by", format(sampler))
              }), keys = c("rho", "m", "step", "strength"))
}

# S = sup F/x over z = a m x > 0 and b <= m^2: F/x = b kappa sinh z/(z (1 + kappa cosh z)). For one
# b there is a single maximum in z, near 0 or where the outer component takes over, z = b/2 - log
# rho.
steepest_secant <- function(rho, m) {
  # the secant to the midpoint, b/z with z = b/2, is the steepest far out
  if (is.infinite(m)) return(max(2, steepest_secant(rho, 60)))
  largest <- function(b) {
    secant <- function(z) b * -expm1(-2 * z) / z / (2 * exp(b / 2 - z) / rho + 1 + exp(-2 * z))
    stats::optimize(secant, c(1e-6, max(b / 2 - log(rho), 0) + 10), maximum = TRUE,
                    tol = 1e-9)$objective
  }
  b <- seq(.02, 1, by = .02)^2 * m^2
  best <- which.max(vapply(b, largest, 0))
  if (best == length(b) && largest(b[best] * (1 - 1e-6)) < largest(b[best])) return(largest(m^2))
  stats::optimize(largest, b[pmin(pmax(best + c(-1, 1), 1), length(b))], maximum = TRUE,
                  tol = 1e-9)$objective
}

# The sum over the steps of log|slope| at the centre, for each row.
lyapunov_sums <- function(rows, sampler, times, schedule) {
  step <- one_score_steps(sampler, times, schedule)
  if (is.null(step)) {
    abort_input("sampler", "one whose steps take one score, at their start", format(sampler))
  }
  v <- step$a^2 + step$b2
  mapply(function(strength, rho, m) {
    b <- step$a^2 * m^2 / v
    kappa <- rho * exp(-b / 2)
    sum(log(abs(step$alpha - step$beta / v * (1 + strength * b * kappa / (1 + kappa)))))
  }, rows$strength, rows$rho, rows$m)
}
