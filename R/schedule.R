#' Forward processes (noise schedules)
#'
#' A schedule says how data are turned into noise: `x_t = a(t) x_0 + b(t) z` with `z` standard
#' normal, which is the law at time `t` of the linear diffusion `dX = f(t) X dt + G(t) dB`, where
#' `f = (log a)'` and `G^2 = (b^2)' - 2 f b^2`. Here `x` is a point in the coordinates of the
#' process: the standardised variables for mixtures that come from data, see [standardise()].
#'
#' @details
#' | schedule | `a(t)` | `b^2(t)` | `f(t)` | `G^2(t)` | `t` |
#' |---|---|---|---|---|---|
#' | `schedule_ou()` | `exp(-t)` | `1 - a^2` | `-1` | `2` | 0 to `Inf` (5) |
#' | `schedule_vp()` | `exp(-t (B + beta_min)/4)` | `1 - a^2` | `-B/2` | `B` | 0 to 1 (1) |
#' | `schedule_cosine()` | `c(t)/c(0)` | `1 - a^2` | `-u tan(u (t + s))` | `-2 f` | 0 to 1 (.995) |
#' | `schedule_ve()` | `1` | `m^2 (e^(2 R t) - 1)` | `0` | `2 R m^2 e^(2 R t)` | 0 to 1 (1) |
#' | `schedule_subvp()` | as `vp` | `(1 - a^2)^2` | `-B/2` | `B (1 - a^4)` | 0 to 1 (1) |
#' | `schedule_flow()` | `1 - t` | `t^2` | `-1/(1 - t)` | `2 t/(1 - t)` | 0 to 1 (.995) |
#' | `schedule_ddpm()` | `prod(alpha)^(1/2)` | `1 - a^2` | `log(alpha_t)/2` | `-2 f` | 0 to T |
#'
#' with `B = beta_min + t (beta_max - beta_min)`, `c(t) = cos(u (t + s))`, `u = (pi/2)/(1 + s)`,
#' `m = sigma_min`, `R = log(sigma_max/sigma_min)`. The schedule's own horizon, from which samplers
#' start (the Ornstein-Uhlenbeck process later, if the mixture needs it: see [horizon]), is in
#' brackets. At `t = 1` the cosine and flow processes have forgotten the data altogether
#' (`a = 0`) and their `f` and `G^2` are infinite, so they start just below: there
#' `a` is 0.008 and 0.005, close to the 0.007 of the Ornstein-Uhlenbeck process at 5.
#'
#' Between whole times `schedule_ddpm()` interpolates `log a` linearly, so that `f` and `G^2` are
#' piecewise constant. `schedule_etc()` is the `schedule_ddpm()` of the "exponential, then constant"
#' sequence `1 - alpha_1 = delta`, `1 - alpha_t = k min(delta (1 + k)^t, 1)`, `k = c log(T)/T`.
#'
#' Every variance-preserving schedule (`b^2 = 1 - a^2`) is the Ornstein-Uhlenbeck process seen with
#' another clock, `-log a(t)`.
#'
#' @section Numerical notes:
#' `b^2` keeps its relative accuracy as `t` goes to 0 and `a` as it goes to 0 at the other end.
#'
#' @param beta_min,beta_max Noise rate at `t = 0` and at `t = 1`.
#' @param s Offset of the cosine schedule, which keeps the noise rate positive at `t = 0`.
#' @param sigma_min,sigma_max Scale of the noise: `sqrt(b^2(1) + sigma_min^2)` is `sigma_max`.
#' @param alpha Numbers strictly between 0 and 1: `alpha_1, ..., alpha_T`, one for each discrete
#'   step `x_t = sqrt(alpha_t) x_{t-1} + sqrt(1 - alpha_t) z` (not their cumulative products).
#' @param steps Number of discrete steps `T`, large enough that `k < 1`.
#' @param c Controls how much noise there is at the end: roughly `a^2(T) = T^(-c)`.
#' @param delta Variance of the noise of the first step.
#'
#' @return An object of class `schedule`: a list with the vectorised functions of time `a`, `b2`
#'   (that is `b^2`), `drift` (`f`) and `diffusion2` (`G^2`); `horizon`, the default time at which
#'   samplers start; `max`, the largest time there is; `vp`, whether `b^2 = 1 - a^2`; `steps`, the
#'   number of discrete steps or `NULL`; and `name`, `label`, `params`, `gain` (internal).
#'
#' @references
#' Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), \doi{10.48550/arXiv.2011.13456}:
#' `vp`, `ve` and `subvp` (section 3.4, appendices B and C).
#'
#' Nichol and Dhariwal (2021), \doi{10.48550/arXiv.2102.09672}: `cosine` (equation 17).
#'
#' Ho, Jain and Abbeel (2020), \doi{10.48550/arXiv.2006.11239}: `ddpm` (equations 2 to 4).
#'
#' Lipman, Chen, Ben-Hamu, Nickel and Le (2023), \doi{10.48550/arXiv.2210.02747}: `flow`.
#'
#' Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}: `etc`.
#'
#' @seealso [diffuse()] for the law of a mixture at time `t`, [time_grid()] for time steps.
#' @examples
#' schedule_vp()
#' vp <- schedule_vp()
#' t <- c(0, .3, 1)
#' data.frame(t, a = vp$a(t), b2 = vp$b2(t), f = vp$drift(t), G2 = vp$diffusion2(t))
#' plot(schedule_cosine())
#'
#' # The linear beta_t of Ho et al.
#' schedule_ddpm(alpha = 1 - seq(1e-4, .02, length.out = 1000))
#' @name schedule
NULL

# `gain` is an antiderivative of G^2/(2a), from which reverse_gain() follows. The defaults are those
# of a variance-preserving schedule, where G^2 = -2f = -2a'/a.
new_schedule <- function(name, label, a, b2, drift, diffusion2 = function(t) -2 * drift(t),
                         gain = function(t) 1 / a(t), horizon = 1, max = 1,
                         vp = missing(diffusion2), steps = NULL, params = list()) {
  force(vp)
  structure(list(name = name, label = label, a = a, b2 = b2, drift = drift,
                 diffusion2 = diffusion2, gain = gain, horizon = horizon, max = max, vp = vp,
                 steps = steps, params = params),
            class = "schedule")
}

#' @rdname schedule
#' @export
schedule_ou <- function() {
  new_schedule("ou", "Ornstein-Uhlenbeck",
               a = function(t) exp(-t), b2 = function(t) -expm1(-2 * t),
               drift = function(t) rep(-1, length(t)), horizon = 5, max = Inf)
}

#' @rdname schedule
#' @export
schedule_vp <- function(beta_min = 0.1, beta_max = 20) {
  rate <- linear_rate(beta_min, beta_max)
  new_schedule("vp", "variance preserving, linear",
               a = function(t) exp(rate$log_a(t)), b2 = function(t) -expm1(2 * rate$log_a(t)),
               drift = function(t) -rate$beta(t) / 2, params = rate$params)
}

# The noise rate of Song et al. (2021, appendix C), shared by the vp and subvp schedules.
linear_rate <- function(beta_min, beta_max) {
  beta_min <- check_number(beta_min, "beta_min", min = 0)
  beta_max <- check_number(beta_max, "beta_max", min = beta_min)
  if (beta_max == 0) abort_input("beta_max", "positive", "0")
  list(beta = function(t) beta_min + t * (beta_max - beta_min),
       log_a = function(t) -t * (beta_min / 2 + t * (beta_max - beta_min) / 4),
       params = list(beta_min = beta_min, beta_max = beta_max))
}

#' @rdname schedule
#' @export
schedule_cosine <- function(s = 0.008) {
  s <- check_number(s, "s", min = 0)
  u <- pi / 2 / (1 + s)
  # cos(u (t + s)) is sin(u (1 - t)), accurate near t = 1; and cos^2 x - cos^2 y is
  # sin(y - x) sin(y + x), accurate near t = 0.
  new_schedule("cosine", "variance preserving, cosine",
               a = function(t) sin(u * (1 - t)) / cos(u * s),
               b2 = function(t) sin(u * t) * sin(u * (t + 2 * s)) / cos(u * s)^2,
               drift = function(t) -u / tan(u * (1 - t)), horizon = 0.995, params = list(s = s))
}

#' @rdname schedule
#' @export
schedule_ve <- function(sigma_min = 0.01, sigma_max = 50) {
  sigma_min <- check_number(sigma_min, "sigma_min", min = 0, open = TRUE)
  sigma_max <- check_number(sigma_max, "sigma_max", min = sigma_min, open = TRUE)
  log_ratio <- log(sigma_max / sigma_min)
  b2 <- function(t) sigma_min^2 * expm1(2 * t * log_ratio)
  new_schedule("ve", "variance exploding",
               a = function(t) rep(1, length(t)), b2 = b2, drift = function(t) rep(0, length(t)),
               diffusion2 = function(t) 2 * log_ratio * sigma_min^2 * exp(2 * t * log_ratio),
               gain = function(t) b2(t) / 2,
               params = list(sigma_min = sigma_min, sigma_max = sigma_max))
}

#' @rdname schedule
#' @export
schedule_subvp <- function(beta_min = 0.1, beta_max = 20) {
  rate <- linear_rate(beta_min, beta_max)
  a <- function(t) exp(rate$log_a(t))
  new_schedule("subvp", "sub-variance preserving",
               a = a, b2 = function(t) expm1(2 * rate$log_a(t))^2,
               drift = function(t) -rate$beta(t) / 2,
               diffusion2 = function(t) -rate$beta(t) * expm1(4 * rate$log_a(t)),
               gain = function(t) 1 / a(t) + a(t)^3 / 3, params = rate$params)
}

#' @rdname schedule
#' @export
schedule_flow <- function() {
  new_schedule("flow", "linear (rectified flow)",
               a = function(t) 1 - t, b2 = function(t) t^2, drift = function(t) -1 / (1 - t),
               diffusion2 = function(t) 2 * t / (1 - t),
               gain = function(t) 1 / (1 - t) + log1p(-t), horizon = 0.995)
}

#' @rdname schedule
#' @export
schedule_ddpm <- function(alpha) {
  if (!is.numeric(alpha) || !length(alpha) || !all(is.finite(alpha) & alpha > 0 & alpha < 1)) {
    abort_input("alpha", "numbers strictly between 0 and 1", describe(alpha))
  }
  steps <- length(alpha)
  slope <- log(as.double(alpha)) / 2
  at_whole <- c(0, cumsum(slope))
  # not by pmin() and pmax(), which take longer than all the rest
  interval <- function(t) {
    k <- ceiling(t)
    k[k < 1] <- 1
    k[k > steps] <- steps
    k
  }
  log_a <- function(t) at_whole[interval(t)] + (t - interval(t) + 1) * slope[interval(t)]
  new_schedule("ddpm", "discrete variance preserving",
               a = function(t) exp(log_a(t)), b2 = function(t) -expm1(2 * log_a(t)),
               drift = function(t) slope[interval(t)], horizon = steps, max = steps, steps = steps,
               params = list(alpha = alpha))
}

#' @rdname schedule
#' @export
schedule_etc <- function(steps, c = 4, delta = 1e-3) {
  steps <- check_steps(steps, min = 2)
  c <- check_number(c, "c", min = 0, open = TRUE)
  delta <- check_number(delta, "delta", min = 0, max = 1, open = TRUE)
  k <- c * log(steps) / steps
  if (k >= 1) abort_input("steps", "so large that c log(steps)/steps < 1", format(k, digits = 6))
  beta <- k * pmin(delta * (1 + k)^seq_len(steps), 1)
  beta[1] <- delta
  schedule <- schedule_ddpm(1 - beta)
  schedule$label <- "discrete, exponential then constant"
  schedule$params <- list(c = c, delta = delta)
  schedule
}

#' The mixture at time t
#'
#' The law of `a(t) X + b(t) z`, where `X` comes from the mixture and `z` is standard normal. It is
#' a mixture with the same weights: component `k` becomes `N(a mu_k, a^2 Sigma_k + b^2 I)`. A
#' mixture with [coordinates][standardise()] is taken there, and back.
#'
#' @param mixture A [gaussmix()].
#' @param t One time, from 0 (the mixture itself) to the largest time of the schedule.
#' @param schedule The forward process, see [schedule].
#' @return A [gaussmix()] of the same dimension, classes, variable names and coordinates. Its
#'   covariance form is the same, but for a mixture whose coordinates have several scales, whose
#'   isotropic components become diagonal.
#' @source Liang, Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}, lemma 3.2.
#' @seealso [schedule]
#' @examples
#' mixture <- gaussmix(weights = c(.3, .7), means = c(-2, 2), cov = .25)
#' diffuse(mixture, t = .5)
#' @export
diffuse <- function(mixture, t, schedule = schedule_ou()) {
  check_mixture(mixture)
  check_schedule(schedule)
  t <- check_time(t, schedule)
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  mixture["fit"] <- list(NULL)
  # not into the coordinates of the process and back
  if (a == 1 && b2 == 0) return(mixture)
  law <- in_process(mixture)
  law$means <- a * law$means
  law$values <- diffused_values(law, a, b2)
  from_process(law, mixture)
}

check_schedule <- function(x, arg = "schedule") {
  if (!inherits(x, "schedule")) {
    abort_input(arg, "a schedule such as schedule_ou()", paste("a", class(x)[1]))
  }
  x
}

check_time <- function(t, schedule, arg = "t") check_number(t, arg, min = 0, max = schedule$max)

# The time at which a sampler starts; NULL is the schedule's own, or what the mixture needs. There
# a > 0, or nothing can be undone, and f is finite.
check_horizon <- function(horizon, schedule, mixture = NULL, arg = "horizon") {
  if (is.null(horizon)) return(chosen_horizon(mixture, schedule))
  horizon <- check_time(horizon, schedule, arg)
  if (horizon == 0) abort_input(arg, "positive", "0")
  if (!(schedule$a(horizon) > 0)) {
    abort_input(arg, "a time at which the data are not yet forgotten (a > 0)", describe(horizon))
  }
  horizon
}

# int_s^t a(s)/a(u) G^2(u)/2 du: what a score frozen at time t adds to the solution of the reverse
# ODE at time s < t when the linear part is solved exactly.
reverse_gain <- function(schedule, t, s) schedule$a(s) * (schedule$gain(t) - schedule$gain(s))

#' @export
format.schedule <- function(x, ...) {
  check_dots(..., also = format.default)
  paste0(x$label, format_params(x$params))
}

# " (s = 0.008)"; long parameters are not shown
format_params <- function(params) {
  params <- params[lengths(params) == 1]
  values <- vapply(params, format, "", digits = 6)
  if (length(params)) paste0(" (", toString(paste(names(params), "=", values)), ")")
}

#' @export
print.schedule <- function(x, ...) {
  check_dots(..., also = print.default)
  cat("<schedule> ", format(x), "\n",
      "  ", if (!is.null(x$steps)) paste0(count_of(x$steps, "discrete step"), ", "),
      "t from 0 to ", x$max, ", samplers start at ", x$horizon,
      ": a = ", format(x$a(x$horizon), digits = 3),
      ", b = ", format(sqrt(x$b2(x$horizon)), digits = 3), "\n", sep = "")
  invisible(x)
}
