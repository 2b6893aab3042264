#' Predictor-corrector samplers
#'
#' A sampler with steps of Langevin dynamics after its own steps, at the time reached. They leave
#' the law `p_t` of that time as it is, and so reduce the predictor's error. Before the steps, at
#' the time at which a step begins, they correct the start too, and take no score at the last time,
#' where point masses have none.
#'
#' @details
#' A corrector takes `steps` steps of size `h` with the score `s = s_t` at the time `t` that the
#' predictor has reached:
#' * `corrector_langevin()`, overdamped (the unadjusted Langevin algorithm):
#'   `x <- x + h s + sqrt(2 h) z`;
#' * `corrector_underdamped()`: with a velocity `v` that is drawn from `N(0, I)` before the first
#'   step and dropped after the last, the exponential integrator of `dx = v dt`,
#'   `dv = (s - gamma v) dt + sqrt(2 gamma) dB` with the score frozen at the start of the step:
#'   `x <- x + psi v + phi s + xi`, `v <- e v + psi s + eta`, where `gamma` is the friction,
#'   `e = e^(-gamma h)`, `psi = (1 - e)/gamma`, `phi = (h - psi)/gamma`, and `(xi, eta)` is normal
#'   with `Var xi = (2/gamma) (h - 2 psi + (1 - e^2)/(2 gamma))`, `Var eta = 1 - e^2` and
#'   `Cov(xi, eta) = (1 - e)^2/gamma`.
#'
#' Neither rejects steps, so each has a bias that vanishes only with `h`. `corrector()` makes your
#' own, from a function that returns operations on registers as a [sampler()]'s step does. Registers
#' of the predictor that its later steps read must not be written. Names in brackets are free.
#'
#' Runs carry no log-density; for the law see [guided_law()], and [guided_moments()] for one
#' Gaussian.
#'
#' @param predictor A [sampler()], which also gives the time grid.
#' @param corrector The corrector: `corrector_langevin()`, `corrector_underdamped()` or a
#'   `corrector()`.
#' @param after The numbers of the steps that are corrected; `NULL`: all.
#' @param order Whether the correction comes `"after"` the step, or `"before"` it.
#' @param step For `corrector()`, a function of `t` and `schedule` that returns a list of
#'   operations. For the others the size `h` of a step, positive: a number, or a function of time.
#' @param strength The strength of the guidance in the predictor's scores; `NULL` for the guidance's
#'   own, which the corrector always keeps.
#' @param steps Number of Langevin steps of one correction.
#' @param friction The friction `gamma`, positive.
#' @param name The name in prints.
#' @return `sampler_corrected()`: a [sampler()]. The others: an object of class
#'   `mixguide_corrector`, a list with `name` and `step`.
#' @source Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021),
#'   \doi{10.48550/arXiv.2011.13456}, algorithm 1, with another rule for `h`. The underdamped step
#'   with its noise is the exponential integrator of Cheng, Chatterji, Bartlett and Jordan (2018),
#'   \doi{10.48550/arXiv.1707.03663} (recalled, not verified against the paper; the covariance is
#'   checked by quadrature in the tests).
#' @seealso [sampler_pcg()]; [sampler_dpom()], which has guarantees.
#' @family samplers
#' @examples
#' # one Gaussian, exactly: the corrector removes most of the error that the start leaves
#' gaussian <- gaussmix(1, 1.5, .25)
#' guided_moments(gaussian, sampler = sampler_euler(), horizon = 2)
#' guided_moments(gaussian, sampler = sampler_corrected(sampler_euler(), corrector_langevin(.05)),
#'                 horizon = 2)
#' # a correction of three steps after every tenth step
#' sampler_corrected(sampler_ddim(100), corrector_underdamped(.1, 3), after = seq(10, 100, 10))
#' @export
sampler_corrected <- function(predictor, corrector = corrector_langevin(.05), after = NULL,
                              order = c("after", "before"), strength = NULL) {
  check_sampler(predictor, "predictor")
  if (!inherits(corrector, "mixguide_corrector")) {
    abort_input("corrector", "a corrector such as corrector_langevin()", describe(corrector))
  }
  if (!is.null(after)) {
    most <- if (is.null(predictor$steps)) Inf else predictor$steps
    ok <- is.numeric(after) && all(is.finite(after)) &&
      all(after == round(after) & after >= 1 & after <= most)
    if (!ok) abort_input("after", paste("whole numbers from 1 to", most), describe(after))
  }
  order <- check_choice(order, c("after", "before"), "order")
  if (!is.null(strength)) check_number(strength, "strength")
  before <- order == "before"
  step <- function(k, times, schedule) {
    ops <- with_own_strength(predictor$step(k, times, schedule), strength)
    if (!is.null(after) && !k %in% after) return(ops)
    if (before) return(c(corrector$step(times[k], schedule), ops))
    c(ops, corrector$step(times[k + 1], schedule))
  }
  when <- if (!is.null(after)) paste0(" ", order, " ", count_of(length(unique(after)), "step")) else
    if (before) " before each step"
  sampler("corrected", step, predictor$steps, predictor$grid, predictor$end, stochastic = TRUE,
          label = paste0(format_label(predictor), if (!is.null(strength)) {
            paste0(" at strength ", format(strength, digits = 4))
          }, ", corrected", when, " by ", corrector$name),
          vectorised = predictor$vectorised && is.null(after) && corrector$vectorised)
}

#' @rdname sampler_corrected
#' @export
corrector <- function(name, step) {
  if (!is.function(step) || !takes_arguments(step, 2)) {
    abort_input("step", "a function of t and schedule", describe(step))
  }
  new_corrector(check_string(name, "name"), step, vectorised = FALSE)
}

#' @rdname sampler_corrected
#' @export
corrector_langevin <- function(step, steps = 1) {
  size <- step_size(step)
  steps <- check_steps(steps)
  new_corrector(corrector_name("Langevin", steps, step), function(t, schedule) {
    rep(langevin_step(t, size(t)), steps)
  })
}

langevin_step <- function(t, h) {
  list(op_eval("(s)", t = t), op_noise("(z)"),
       op_linear("x", list(x = 1, "(s)" = h, "(z)" = sqrt(2 * h))))
}

#' @rdname sampler_corrected
#' @export
corrector_underdamped <- function(step, steps = 1, friction = 2) {
  size <- step_size(step)
  steps <- check_steps(steps)
  friction <- check_number(friction, "friction", min = 0, open = TRUE)
  name <- corrector_name("underdamped Langevin", steps, step, friction)
  new_corrector(name, function(t, schedule) {
    const <- underdamped_constants(size(t), friction)
    score <- list(op_eval("(s)", from = "x", t = t), op_noise("(z)"))
    move <- list(op_linear("x", list(x = 1, "(v)" = const$psi, "(s)" = const$phi,
                                     "(z)" = const$sd_x)))
    # eta, given the z of xi
    turn <- list(op_noise("(w)"),
                 op_linear("(v)", list("(v)" = const$e, "(s)" = const$psi, "(z)" = const$of_x,
                                       "(w)" = const$sd_v)))
    # x moves by the old velocity, and the last velocity moves nothing
    c(list(op_noise("(v)")), rep(c(score, move, turn), steps - 1), score, move)
  })
}

new_corrector <- function(name, step, vectorised = TRUE) {
  structure(list(name = name, step = step, vectorised = vectorised),
            class = object_class("mixguide_corrector"))
}

corrector_name <- function(kind, steps, step, friction = NULL) {
  size <- if (is.function(step)) "function of t" else format(step, digits = 4)
  paste0(count_of(steps, paste(kind, "step")), " of ", size,
         if (!is.null(friction)) paste0(" with friction ", format(friction, digits = 4)))
}

# The size of a step as a function of several times.
step_size <- function(step) {
  wanted <- "one positive number or a function of time"
  if (is.function(step)) {
    check_of_time(step, "step", wanted)
    return(function(t) at_times(step, t, "step", min = 0))
  }
  ok <- is.numeric(step) && length(step) == 1 && is.finite(step) && step > 0
  if (!ok) abort_input("step", wanted, describe(step))
  function(t) step
}

# One underdamped step of size h with friction g; r = g h. Var xi = (2 r - 3 + 4 e^-r - e^-2r)/g^2,
# by its series where that would cancel.
underdamped_constants <- function(h, g) {
  r <- g * h
  e <- exp(-r)
  psi <- -expm1(-r) / g
  n <- 3:28
  series <- outer(pmin(r, 1), n, `^`) %*% ((-1)^n * (4 - 2^n) / factorial(n))
  var_x <- ifelse(r < 1, drop(series), 2 * r - 3 + 4 * e - e^2) / g^2
  cov <- expm1(-r)^2 / g
  sd_x <- sqrt(var_x)
  # the shared part; a step of size 0 has no noise
  of_x <- ifelse(sd_x > 0, cov / sd_x, 0)
  list(e = e, psi = psi, phi = (h - psi) / g, sd_x = sd_x, of_x = of_x,
       sd_v = sqrt(pmax(-expm1(-2 * r) - of_x^2, 0)))
}

in_words.mixguide_corrector <- function(x) x$name
