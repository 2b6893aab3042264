#' Forward processes (noise schedules)
#'
#' A schedule says how data are turned into noise: `x_t = a(t) x_0 + b(t) z` with `z` standard
#' normal, which is the law at time `t` of the linear diffusion `dX = f(t) X dt + G(t) dB`, where
#' `f = (log a)'` and `G^2 = (b^2)' - 2 f b^2`, in the coordinates of [standardise()].
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
#' `m = sigma_min`, `R = log(sigma_max/sigma_min)`. In brackets is the schedule's own horizon, from
#' which samplers start unless the mixture needs more, see [horizon]. At `t = 1` the cosine and flow
#' processes have forgotten the data (`a = 0`) and their `f` and `G^2` are infinite, so they start
#' just below: there `a` is 0.008 and 0.005, close to the 0.007 of `schedule_ou()` at 5.
#'
#' Between whole times `schedule_ddpm()` interpolates `log a` linearly, so that `f` and `G^2` are
#' piecewise constant. `schedule_etc()` is the `schedule_ddpm()` of the "exponential, then constant"
#' sequence `1 - alpha_1 = delta`, `1 - alpha_t = k min(delta (1 + k)^t, 1)`, `k = c log(T)/T`.
#'
#' Any variance-preserving schedule (`b^2 = 1 - a^2`) is `schedule_ou()` with the clock `-log a(t)`.
#'
#' @section Your own:
#' `schedule()` makes one of `a` and `b2`. What is not given is derived: `drift` and `diffusion2` by
#' differences (to some nine digits), `vp` by looking. What is given must agree with `a` and `b2`:
#' `(log a)'` and `(b^2)' - 2 f b^2` are compared at several times, and the error tells where they
#' differ. `a(0)` must be 1, `b2(0)` may be above 0 (the data then carry that noise for good), and
#' `a/b` must fall with time. At the horizon `a` may be 0, as the last `alpha`.
#'
#' A schedule whose functions are exchanged afterwards is an error, for what was derived from them
#' would stay. Its `horizon` may be set.
#'
#' @section Numerical notes:
#' `b^2` keeps its relative accuracy as `t` goes to 0 and `a` as it goes to 0 at the other end.
#'
#' @param beta_min,beta_max Noise rate at `t = 0` and at `t = 1`.
#' @param s Offset of the cosine schedule, which keeps the noise rate positive at `t = 0`.
#' @param sigma_min,sigma_max Scale of the noise: `sqrt(b^2(1) + sigma_min^2)` is `sigma_max`.
#' @param alpha Numbers strictly between 0 and 1: `alpha_1, ..., alpha_T`, one for each discrete
#'   step `x_t = sqrt(alpha_t) x_{t-1} + sqrt(1 - alpha_t) z` (not their cumulative products). The
#'   last may be 0 (zero terminal signal-to-noise ratio): samplers that use the denoised point start
#'   where the data are forgotten: [sampler_ddim()], [sampler_ddpm()], [sampler_dpm_2()],
#'   [sampler_dpmpp_2m()].
#' @param a,b2 Vectorised functions of time.
#' @param drift,diffusion2 The same for `f` and `G^2`, or `NULL`: they are derived.
#' @param max The largest time there is, `Inf` if there is none.
#' @param horizon The default time at which samplers start.
#' @param name,label A short name, and what to print.
#' @param vp Is `b^2 = 1 - a^2`? `NULL`: found out.
#' @param params A named list of settings, to print.
#' @param steps Number of discrete steps `T`, large enough that `k < 1`.
#' @param c Controls how much noise there is at the end: roughly `a^2(T) = T^(-c)`.
#' @param delta Variance of the noise of the first step.
#'
#' @return An object of class `mixguide_schedule`: a list of the arguments of `schedule()`, with
#'   `drift`, `diffusion2` and `vp` if they were `NULL`; of `steps`, the number of discrete steps or
#'   `NULL`; and of `gain` (internal).
#'
#' @references
#' * `vp`, `ve` and `subvp`: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021),
#'   \doi{10.48550/arXiv.2011.13456}, section 3.4, appendices B and C.
#' * `cosine`: Nichol and Dhariwal (2021), \doi{10.48550/arXiv.2102.09672}, equation 17.
#' * `ddpm`: Ho, Jain and Abbeel (2020), \doi{10.48550/arXiv.2006.11239}, equations 2 to 4.
#' * `flow`: Lipman, Chen, Ben-Hamu, Nickel and Le (2023), \doi{10.48550/arXiv.2210.02747}.
#' * `etc`: Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}.
#'
#' @seealso [diffuse()] for the law of a mixture at time `t`, [time_grid()] for time steps.
#' @examples
#' vp <- schedule_vp()
#' vp
#' t <- c(0, .3, 1)
#' data.frame(t, a = vp$a(t), b2 = vp$b2(t), f = vp$drift(t), G2 = vp$diffusion2(t))
#' plot(schedule_cosine())
#'
#' # The linear beta_t of Ho et al.
#' schedule_ddpm(alpha = 1 - seq(1e-4, .02, length.out = 1000))
#' # the data keep a noise of standard deviation .001 (the `VPSchedule` of the Python package azula)
#' alpha <- function(t) exp(log(.001) * t^2)
#' schedule(alpha, function(t) 1 - alpha(t)^2 + .001^2, max = 1, name = "azula")
#' @name schedule
NULL

#' @rdname schedule
#' @export
schedule <- function(a, b2, drift = NULL, diffusion2 = NULL, max = Inf, horizon = max,
                     name = "custom", label = name, vp = NULL, params = list()) {
  if (missing(a) || missing(b2)) {
    abort_input(if (missing(a)) "a" else "b2", paste("given, as a function of time: a schedule is",
                                                     "x_t = a(t) x_0 + sqrt(b2(t)) z"), "nothing")
  }
  given <- list(a = a, b2 = b2, drift = drift, diffusion2 = diffusion2)
  for (arg in names(given)[!vapply(given, is.function, NA)]) {
    if (arg %in% c("a", "b2") || !is.null(given[[arg]])) {
      abort_input(arg, "a function of time", describe(given[[arg]]))
    }
  }
  if (!identical(max, Inf)) max <- check_number(max, "max", min = 0, open = TRUE)
  if (identical(horizon, Inf)) abort_input("horizon", "given where time has no end (`max`)", "Inf")
  horizon <- check_number(horizon, "horizon", min = 0, max = max)
  if (horizon == 0) abort_input("horizon", "positive", "0")
  given <- Map(guarded_function, given, names(given))
  a <- given$a
  b2 <- given$b2
  drift <- given$drift
  diffusion2 <- given$diffusion2
  t <- horizon * c(0, 1e-4, .01, .113, .309, .507, .711, .911, 1)
  check_schedule_functions(given, t)
  if (is.null(drift)) {
    drift <- function(t) time_slope(function(t) log(a(t)), t, max, horizon)
  } else {
    check_derivative("drift", "(log a)'", drift, function(t) log(a(t)), function(t) 0, t, max)
  }
  if (is.null(diffusion2)) {
    diffusion2 <- function(t) pmax(time_slope(b2, t, max, horizon) - 2 * drift(t) * b2(t), 0)
  } else {
    check_derivative("diffusion2", "(b2)' - 2 (log a)' b2", diffusion2, b2,
                     function(t) -2 * drift(t) * b2(t), t, max)
  }
  off <- abs(b2(t) + a(t)^2 - 1)
  if (is.null(vp)) vp <- all(off <= 1e-12)
  if (check_flag(vp, "vp") && any(off > 1e-8)) {
    abort_input("vp", paste("FALSE where a^2 + b2 is not 1, as at t =", format(t[off > 1e-8][1])),
                "TRUE")
  }
  new_schedule(check_string(name, "name"), check_string(label, "label"), a, b2, drift, diffusion2,
               gain = NULL, horizon = horizon, max = max, vp = vp, params = params)
}

# The same function of time, whose failures, at whatever time, are errors of ours.
guarded_function <- function(f, arg) {
  if (is.null(f)) return(NULL)
  function(t) {
    value <- from_user(f(t), arg, paste(" at t =", toString(format(t), 60)))
    if (!is.numeric(value) || length(value) != length(t) || anyNA(value)) {
      abort_input(arg, paste("vectorised: one number for each of", count_of(length(t), "time")),
                  paste(describe(value), "at t =", toString(format(t), 60)))
    }
    value
  }
}

# Finite vectors, a from 1 downward, b2 not below 0, and a/b falling.
check_schedule_functions <- function(given, t) {
  for (arg in names(Filter(Negate(is.null), given))) {
    # at the horizon f and G^2 may be infinite
    times <- if (arg %in% c("a", "b2")) t else t[-c(1, length(t))]
    value <- given[[arg]](times)
    wrong <- which(!is.finite(value) | (arg != "drift" & value < 0))
    if (length(wrong)) {
      abort_input(arg, if (arg == "drift") "finite" else "finite and >= 0",
                  paste(format(value[wrong[1]]), "at t =", format(times[wrong[1]])))
    }
  }
  a <- given$a(t)
  b2 <- given$b2(t)
  if (abs(a[1] - 1) > 1e-12) abort_input("a", "1 at t = 0", format(a[1], digits = 15))
  noise <- b2 / a^2
  rising <- which(!(diff(noise) > 0) & a[-1] > 0)
  if (length(rising)) {
    i <- rising[1] + 0:1
    abort_input("b2", "such that b2/a^2 grows with time",
                paste(format(noise[i], digits = 6), "at t =", format(t[i]), collapse = ", "))
  }
}

# The slope of g at times t, by five points. Steps are short beside the distance to either end,
# where a schedule may be singular; at an end all points are on one side.
time_slope <- function(g, t, max, scale, step = 2e-3) {
  h <- pmax(pmin(step * scale, t / 50, (max - t) / 200), step * scale / 200)
  side <- ifelse(t < 2 * h, 1, ifelse(max - t < 2 * h, -1, 0))
  slope <- double(length(t))
  for (s in unique(side)) {
    i <- side == s
    place <- if (s == 0) c(-2, -1, 1, 2) else s * 0:4
    weight <- if (s == 0) c(1, -8, 8, -1) / 12 else s * c(-25, 48, -36, 16, -3) / 12
    times <- outer(h[i], place) + t[i]
    slope[i] <- matrix(g(as.vector(times)), nrow(times)) %*% weight / h[i]
  }
  slope
}

# A given derivative is that of g, plus `more`, by steps of some length: g may be smooth in pieces.
check_derivative <- function(arg, what, given, g, more, t, max) {
  t <- t[-c(1, length(t))]
  value <- given(t)
  slopes <- vapply(c(2e-3, 1e-4, 1e-6), function(step) {
    time_slope(g, t, max, t[length(t)], step) + more(t)
  }, t)
  off <- apply(abs(slopes - value) - 1e-5 * (abs(value) + abs(more(t))), 1, min)
  wrong <- which(!(off <= 1e-7 / t[length(t)]))
  if (length(wrong)) {
    i <- wrong[1]
    abort_input(arg, paste0(what, ", ", format(slopes[i, 1], digits = 6), " at t = ", format(t[i])),
                format(value[i], digits = 6))
  }
}

# `gain` is an antiderivative of G^2/(2a), from which reverse_gain() follows; NULL: by quadrature.
# The defaults are those of a variance-preserving schedule, where G^2 = -2f = -2a'/a.
new_schedule <- function(name, label, a, b2, drift, diffusion2 = function(t) -2 * drift(t),
                         gain = function(t) 1 / a(t), horizon = 1, max = 1,
                         vp = missing(diffusion2), steps = NULL, params = list()) {
  schedule <- mget(names(formals()))
  structure(schedule, class = object_class("mixguide_schedule"),
            made_of = schedule[schedule_functions])
}

# The functions that belong together: check_schedule() refuses schedules with an exchanged one.
schedule_functions <- c("a", "b2", "drift", "diffusion2", "gain", "vp")

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
  steps <- length(alpha)
  # zero terminal signal-to-noise ratio
  forgotten <- is.numeric(alpha) && steps > 1 && alpha[steps] %in% 0
  inside <- if (forgotten) alpha[-steps] else alpha
  if (!are_numbers(inside) || any(inside <= 0 | inside >= 1)) {
    abort_input("alpha", "numbers strictly between 0 and 1, of which the last may be 0",
                describe(alpha))
  }
  slope <- log(as.double(alpha)) / 2
  at_whole <- c(0, cumsum(slope))
  # pmin() and pmax() would take longer than all the rest
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
#' @param mixture A [gaussmix()], or a [diffusion()] of one.
#' @param t One time, from 0 (the mixture itself) to the largest time of the schedule.
#' @param schedule The forward process, see [schedule].
#' @return A [gaussmix()] of the same dimension, classes, variable names, coordinates and form of
#'   covariances; but isotropic components become diagonal if coordinates have several scales.
#' @source Liang, Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}, lemma 3.2.
#' @examples
#' diffuse(gaussmix(weights = c(.3, .7), means = c(-2, 2), cov = .25), t = .5)
#' @export
diffuse <- function(mixture, t, schedule = schedule_ou()) {
  unpack_diffusion()
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
  law <- from_process(law, mixture)
  law$terms <- mixture$terms
  law
}

check_schedule <- function(x) {
  check_class(x, "mixguide_schedule", "schedule", "a schedule such as schedule_ou()")
  if (!identical(unclass(x)[schedule_functions], attr(x, "made_of"))) {
    abort_input("schedule", "as it was made (schedule() makes one of functions of your own)",
                "one whose functions were exchanged")
  }
  x
}

check_time <- function(t, schedule, arg = "t") check_number(t, arg, min = 0, max = schedule$max)

# The time at which a sampler starts; NULL is the schedule's own, or what the mixture needs. There
# a > 0, or f is infinite; `forgotten`: a may be 0, as for samplers that use the denoised point.
check_horizon <- function(horizon, schedule, mixture = NULL, arg = "horizon", forgotten = FALSE) {
  horizon <- if (is.null(horizon)) chosen_horizon(mixture, schedule) else {
    check_time(horizon, schedule, arg)
  }
  if (horizon == 0) abort_input(arg, "positive", "0")
  if (!forgotten && !(schedule$a(horizon) > 0)) {
    abort_input(arg, "a time at which the data are not yet forgotten (a > 0)", describe(horizon))
  }
  horizon
}

# int_s^t a(s)/a(u) G^2(u)/2 du: the factor of a score frozen at t in the reverse ODE's step to s.
reverse_gain <- function(schedule, t, s) schedule$a(s) * gain_between(schedule, t, s)

# int_s^t G^2(u)/(2 a(u)) du
gain_between <- function(schedule, t, s) {
  if (!is.null(schedule$gain)) return(schedule$gain(t) - schedule$gain(s))
  if (schedule$vp) return(1 / schedule$a(t) - 1 / schedule$a(s))
  rule <- gauss_legendre(16)
  # in eight panels: a may fall by much within one step
  half <- (t - s) / 16
  node <- as.vector(outer(rule$node, 1 + 2 * 0:7, `+`))
  u <- as.vector(outer(half, node) + s)
  value <- matrix(schedule$diffusion2(u) / (2 * schedule$a(u)), length(t))
  half * drop(value %*% rep(rule$weight, 8))
}

in_words.mixguide_schedule <- function(x) paste0(x$label, format_params(x$params))

# " (s = 0.008)"; long parameters are not shown
format_params <- function(params) {
  params <- params[lengths(params) == 1]
  values <- vapply(params, format, "", digits = 6)
  if (length(params)) paste0(" (", toString(paste(names(params), "=", values)), ")")
}

print_body.mixguide_schedule <- function(x, ...) {
  say(paste0(if (!is.null(x$steps)) paste0(count_of(x$steps, "discrete step"), ", "),
             "t from 0 to ", x$max, ", samplers start at ", x$horizon,
             ": a = ", format(x$a(x$horizon), digits = 3),
             ", b = ", format(sqrt(x$b2(x$horizon)), digits = 3)))
}

start_sd <- function(schedule, horizon) if (schedule$vp) 1 else sqrt(schedule$b2(horizon))

# The constants of the one-step formulas in the literature. For a step from t to t' (here `next`):
# a, b^2 at both, a'/a and a/a' (`back`), and beta = Var(x_t | x_t'), which is Ho et al.'s beta_t.
# `late`: a' is so much larger than a that a'/a times the score would be a difference of large
# numbers, or infinite; such steps take the denoised point (`want`).
step_constants <- function(k, times, schedule) {
  a <- schedule$a(times[k])
  a_next <- schedule$a(times[k + 1])
  b2 <- schedule$b2(times[k])
  b2_next <- schedule$b2(times[k + 1])
  back <- ifelse(a > 0, a / a_next, 0)
  late <- a == 0 | a_next > 1e3 * a
  list(a = a, a_next = a_next, b2 = b2, b2_next = b2_next, ratio = a_next / a, back = back,
       beta = pmax(b2 - back^2 * b2_next, 0),
       late = late, want = ifelse(late, "denoised", "score"))
}

# a and b^2 at time t; an error where a component has no density.
noise_level <- function(mixture, t, schedule, singular_ok = FALSE) {
  check_schedule(schedule)
  t <- check_time(t, schedule)
  level <- list(a = schedule$a(t), b2 = schedule$b2(t))
  if (!singular_ok && is_singular(mixture) && level$b2 == 0) {
    abort("`mixture` has a singular covariance and no density at `t` = 0; take t > 0", "singular")
  }
  level
}

# The time of the Ornstein-Uhlenbeck process at which the ratio of data and noise is the same.
ou_clock <- function(t, schedule) log1p(schedule$b2(t) / schedule$a(t)^2) / 2
